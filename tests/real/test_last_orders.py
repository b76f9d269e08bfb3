"""A child that is killed as soon as it hears something: whoever takes its place goes by it, or it is done without."""

from __future__ import annotations

import os
import signal
import typing
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.model.pools import Server
from kubelb.config.values import Address
from kubelb.wire.message_sets import ToControl, ToWorker
from kubelb.wire.messages import (
    AskSessions,
    Configuration,
    HandOver,
    Listen,
    LogOpened,
    NoConfiguration,
    Receive,
    Release,
    Reload,
    Reopen,
    Retire,
    SessionList,
    Sighting,
    SnapshotChanged,
    Stalled,
    Stop,
    Unlisten,
    Upgrade,
    Upgraded,
)
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave, name_of
from tests.support.last_words import Rig, a_rig, fails
from tests.support.proxy import echoes, gone, lives, refuses, sessions_by_thread

pytestmark = pytest.mark.usefixtures("no_leaks")


def reopen(rig: Rig) -> None:
    os.kill(rig.proxy.pid, signal.SIGUSR1)


# Control.


def a_sighting(rig: Rig) -> None:
    """Nobody listens at the first server."""
    rig.write(Server(address=Address(*rig.more)), *rig.members())
    rig.reload()
    assert {ask(rig.proxy.address) for _ in range(8)}


def sessions_are_asked_for(rig: Rig) -> None:
    fails(lambda: adminclient.sessions(rig.proxy.runtime_dir))


def an_address_is_bound(rig: Rig) -> None:
    rig.lose_an_address()


def a_file_is_refused(rig: Rig) -> None:
    """Whoever is asked dies before it answers."""
    rig.lose_a_refusal()


def an_upgrade(rig: Rig) -> None:
    """Who asked for it may not be told how it went."""

    def upgrade() -> None:
        with suppress(AdminFault):
            rig.proxy.upgrade()

    rig.be_succeeded(upgrade)


def a_reload_by_signal(rig: Rig) -> None:
    """It may be lost with the one that was told."""
    os.kill(rig.proxy.pid, signal.SIGHUP)


TO_CONTROL: dict[type[msgspec.Struct], Callable[[Rig], None]] = {
    Sighting: a_sighting,
    Stalled: Rig.have_a_session_wait,
    SessionList: sessions_are_asked_for,
    Configuration: an_address_is_bound,
    NoConfiguration: a_file_is_refused,
    Upgrade: an_upgrade,
    Retire: an_upgrade,
    Upgraded: an_upgrade,
    Stop: an_upgrade,
    LogOpened: reopen,
    Reopen: reopen,
    Reload: a_reload_by_signal,
}


@pytest.mark.parametrize("word", typing.get_args(ToControl), ids=lambda word: word.__name__)
def test_the_last_order_of_control(tmp_path: Path, word: type[msgspec.Struct]) -> None:
    with a_rig(tmp_path, "TO_CONTROL", word, heard=True) as rig, keep(rig.proxy.address)[0] as client:
        rig.trap.arm()
        TO_CONTROL[word](rig)
        eventually(lambda: rig.trap.has_sprung, "it has been heard")
        eventually(rig.proxy.answer, "control answers")
        rig.reload()
        assert echoes(client)
        assert ask(rig.proxy.address)
        leave(client)


# Workers.


def a_server_is_drained(rig: Rig) -> None:
    rig.drain(rig.servers[0])
    eventually(lambda: len(rig.proxy.workers()) == 2, "another worker is in its place")
    assert rig.reached() == {name_of(rig.servers[1])}


def sessions_go_back(rig: Rig) -> None:
    """To a better server, as soon as it may be used."""
    rig.drain_the_better()
    with keep(rig.proxy.address)[0] as client:
        rig.undrain(rig.servers[0])
        with suppress(ConnectionResetError):  # It may have been the dead one's.
            assert client.recv(1) == b""


def a_session_is_asked_for(rig: Rig) -> None:
    adminclient.sessions(rig.proxy.runtime_dir)


def it_is_listened_elsewhere(rig: Rig) -> None:
    rig.write(*rig.members(), more=True)
    rig.reload()
    eventually(lambda: len(rig.proxy.workers()) == 2, "another worker is in its place")
    assert len({ask(rig.more) for _ in range(8)}) == 2


def it_is_not_listened_there_any_more(rig: Rig) -> None:
    rig.write(*rig.members(), more=True)
    rig.reload()
    assert ask(rig.more)
    rig.write(*rig.members())
    rig.reload()
    eventually(lambda: refuses(rig.more), "it is given up")


def one_worker_is_too_many(rig: Rig) -> None:
    """Its sessions are lost if it is the one that dies; whoever was to take them is replaced, and others' live."""
    with ExitStack() as held:
        staying, leaving = rig.proxy.workers()
        while not (sum(sessions_by_thread(staying)) and sum(sessions_by_thread(leaving))):
            held.enter_context(keep(rig.proxy.address)[0])
        clients = [held.enter_context(keep(rig.proxy.address)[0]) for _ in range(8)]
        rig.write(*rig.members(), workers=1)
        rig.reload()
        eventually(lambda: gone(leaving), "it has left")
        eventually(lambda: any(map(lives, clients)), "some live on")
        rig.write(*rig.members())
        rig.reload()


TO_WORKERS: dict[type[msgspec.Struct], Callable[[Rig], None]] = {
    SnapshotChanged: a_server_is_drained,
    Release: sessions_go_back,
    AskSessions: a_session_is_asked_for,
    Listen: it_is_listened_elsewhere,
    Unlisten: it_is_not_listened_there_any_more,
    HandOver: one_worker_is_too_many,
    Receive: one_worker_is_too_many,
    Reopen: reopen,
}


def test_all_that_a_worker_may_hear_is_tried() -> None:
    assert {*TO_WORKERS, Stop} == set(typing.get_args(ToWorker))


@pytest.mark.parametrize("word", TO_WORKERS, ids=lambda word: word.__name__)
def test_the_last_order_of_a_worker(tmp_path: Path, word: type[msgspec.Struct]) -> None:
    with a_rig(tmp_path, "TO_WORKER", word, heard=True) as rig:
        rig.trap.arm()
        TO_WORKERS[word](rig)
        rig.proxy.log.wait_for("child_died")
        eventually(lambda: len(rig.proxy.workers()) == 2, "another worker is in its place")
        rig.reload()
        eventually(rig.all_answer, "all workers answer")
        assert ask(rig.proxy.address)


def test_a_worker_that_dies_of_a_stop(tmp_path: Path) -> None:
    with a_rig(tmp_path, "TO_WORKER", Stop, heard=True) as rig:
        rig.trap.arm()
        adminclient.stop(rig.proxy.runtime_dir, gracefully=True)
        assert rig.proxy.wait() == 0
