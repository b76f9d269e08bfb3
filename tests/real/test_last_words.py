"""A child that is killed as soon as it has said something: what it has said counts, and nothing is left half done."""

from __future__ import annotations

import typing
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.model.pools import Server
from kubelb.config.values import Address, Duration
from kubelb.wire.message_sets import FromControl, FromWorker
from kubelb.wire.messages import (
    AskSessions,
    GiveUp,
    PoolsChanged,
    Quit,
    Read,
    ReadAnew,
    Ready,
    Receive,
    Refused,
    Release,
    Reloading,
    SessionList,
    Sighting,
    Stalled,
    Upgrade,
)
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.last_words import PROBED, Rig, a_rig, fails
from tests.support.proxy import echoes, gone, lives, refuses, sessions_by_thread, suspended

pytestmark = pytest.mark.usefixtures("no_leaks")

AN_HOUR = Duration(3600)


# Control.


def said_ready(rig: Rig) -> None:
    """The one that comes in its place dies of that."""
    rig.proxy.control().kill()
    rig.proxy.log.wait_for("child_died", count=2, child="control")


def said_pools(rig: Rig) -> None:
    rig.lose_control(lambda: rig.drain(rig.servers[0]))
    assert [server.drained for server in rig.proxy.servers()] == [True, False]
    assert rig.reached() == {name_of(rig.servers[1])}


def said_release(rig: Rig) -> None:
    """Those that were to go back to a better server do so in the end."""
    rig.drain_the_better()
    with ExitStack() as stack:
        clients = [stack.enter_context(keep(rig.proxy.address)[0]) for _ in range(4)]
        with suppress(AdminFault):  # It may have no time to answer.
            rig.undrain(rig.servers[0])
        assert [client.recv(1) for client in clients] == [b""] * 4


def said_ask_sessions(rig: Rig) -> None:
    rig.lose_control(lambda: adminclient.sessions(rig.proxy.runtime_dir))
    eventually(lambda: len(adminclient.sessions(rig.proxy.runtime_dir).sessions) == 1, "the session is told of")


def said_reloading(rig: Rig) -> None:
    """It has not begun."""
    rig.write(rig.members()[0])
    rig.lose_control(rig.reload)
    assert len(rig.proxy.servers()) == 2


def said_read_anew(rig: Rig) -> None:
    """Whoever connected there would be held for ever."""
    rig.lose_an_address()
    rig.reload()
    assert ask(rig.more)


def said_give_up(rig: Rig) -> None:
    """Something is wrong with the file."""
    rig.lose_a_refusal()


def said_upgrade(rig: Rig) -> None:
    rig.be_succeeded(lambda: fails(rig.proxy.upgrade))


OF_CONTROL: dict[type[msgspec.Struct], Callable[[Rig], None]] = {
    Ready: said_ready,
    PoolsChanged: said_pools,
    Release: said_release,
    AskSessions: said_ask_sessions,
    Reloading: said_reloading,
    ReadAnew: said_read_anew,
    GiveUp: said_give_up,
    Upgrade: said_upgrade,
}


def test_all_that_control_may_say_is_tried() -> None:
    assert {*OF_CONTROL, Quit} == set(typing.get_args(FromControl))


@pytest.mark.parametrize("word", OF_CONTROL, ids=lambda word: word.__name__)
def test_the_last_word_of_control_counts(tmp_path: Path, word: type[msgspec.Struct]) -> None:
    with a_rig(tmp_path, "TO_CONTROL", word) as rig, keep(rig.proxy.address)[0] as client:
        rig.trap.arm()
        OF_CONTROL[word](rig)
        rig.proxy.log.wait_for("child_died", child="control")
        eventually(rig.proxy.answer, "control answers")
        rig.reload()
        assert echoes(client)
        leave(client)


def test_what_control_has_said_before_it_died_is_heard_to_its_end(tmp_path: Path) -> None:
    """Whoever comes in its place would go on from what was heard by chance."""
    with a_rig(tmp_path, "TO_CONTROL", PoolsChanged, others=100) as rig:
        control = rig.proxy.control()
        rig.trap.arm()
        with suspended([rig.proxy.supervisor]):
            fails(lambda: rig.drain(rig.servers[0]))
            eventually(lambda: gone(control), "it has died before anything is heard")
        eventually(rig.proxy.answer, "another control answers")
        assert [server.drained for server in rig.proxy.servers()] == [True, False]
        assert rig.reached() == {name_of(rig.servers[1])}


def test_a_stop_that_control_has_passed_on_before_it_died(tmp_path: Path) -> None:
    with a_rig(tmp_path, "TO_CONTROL", Quit) as rig:
        rig.trap.arm()
        adminclient.stop(rig.proxy.runtime_dir, gracefully=True)
        assert rig.proxy.wait() == 0


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_reload_is_gone_by_as_a_whole_or_not_at_all(tmp_path: Path, count: int) -> None:
    """Control dies in the midst of one, after so many messages."""
    with a_rig(tmp_path, "TO_CONTROL", *OF_CONTROL, count=count) as rig, keep(rig.proxy.address)[0] as client:
        rig.write(*rig.members(), health=PROBED, name="other", more=True)
        rig.trap.arm()
        rig.lose_control(rig.reload)
        pool = rig.proxy.status().pools[0]
        if pool.name == "other":
            rig.wait_all_up()
            assert ask(rig.more)
        else:
            assert [(server.state, server.probe) for server in pool.servers] == [("unknown", None)] * 2
            eventually(lambda: refuses(rig.more), "it is not listened there")
        rig.reload()
        assert rig.proxy.status().pools[0].name == "other"
        assert ask(rig.more)
        assert echoes(client)
        leave(client)


# Readers.


def test_what_a_reader_has_read_before_it_died_counts(tmp_path: Path) -> None:
    with a_rig(tmp_path, "TO_READER", Read) as rig:
        rig.write(*rig.members(), more=True)
        rig.trap.arm()
        rig.reload()
        assert ask(rig.more)


def test_what_a_reader_has_found_wrong_before_it_died_is_told(tmp_path: Path) -> None:
    with a_rig(tmp_path, "TO_READER", Refused) as rig:
        rig.write(*rig.members(), *rig.members(), more=True)
        rig.trap.arm()
        with pytest.raises(AdminFault, match=r"servers\[2\]"):
            rig.reload()
        assert refuses(rig.more)


# Workers.


def worker_said_ready(rig: Rig) -> None:
    """The one that comes in the place of another dies of that."""
    rig.proxy.workers()[0].kill()
    rig.proxy.log.wait_for("child_died", count=2)


def worker_said_sighting(rig: Rig) -> None:
    """That somebody was refused has the server looked at, which nobody would else for an hour."""
    first, second = rig.members()
    with IdentityServers(["127.0.0.1"]) as going:
        rig.write(
            Server(address=Address(*going.addresses[0])),
            msgspec.structs.replace(second, backup=True),
            health=msgspec.structs.replace(PROBED, interval=AN_HOUR),
        )
        rig.reload()
        rig.wait_all_up()
    with suppress(ConnectionError):
        ask(rig.proxy.address)
    eventually(lambda: rig.proxy.servers()[0].state in ("suspect", "down"), "it has been looked at")
    rig.write(first, second)


def worker_said_sessions(rig: Rig) -> None:
    answer = adminclient.sessions(rig.proxy.runtime_dir)
    assert len(answer.sessions) <= 2
    rig.proxy.log.wait_for("child_died")
    eventually(lambda: len(rig.proxy.workers()) == 2, "another worker is in its place")
    eventually(rig.all_answer, "all workers answer")


OF_WORKERS: dict[type[msgspec.Struct], Callable[[Rig], None]] = {
    Ready: worker_said_ready,
    Sighting: worker_said_sighting,
    Stalled: Rig.have_a_session_wait,
    SessionList: worker_said_sessions,
}


@pytest.mark.parametrize("word", typing.get_args(FromWorker), ids=lambda word: word.__name__)
def test_the_last_word_of_a_worker_counts(tmp_path: Path, word: type[msgspec.Struct]) -> None:
    with a_rig(tmp_path, "TO_WORKER", word) as rig:
        rig.trap.arm()
        OF_WORKERS[word](rig)
        rig.proxy.log.wait_for("child_died")
        eventually(lambda: len(rig.proxy.workers()) == 2, "another worker is in its place")
        rig.reload()
        assert len(rig.reached()) == 2


def test_sessions_that_a_dead_worker_was_to_take_go_to_the_one_in_its_place(tmp_path: Path) -> None:
    with a_rig(tmp_path, "TO_WORKER", Receive, heard=True) as rig, ExitStack() as held:
        before = rig.proxy.workers()
        clients = [held.enter_context(keep(rig.proxy.address)[0]) for _ in range(8)]
        while not all(sum(sessions_by_thread(worker)) for worker in before):
            clients.append(held.enter_context(keep(rig.proxy.address)[0]))
        _, given = (sum(sessions_by_thread(worker)) for worker in before)
        rig.trap.arm()
        rig.write(*rig.members(), workers=1)
        rig.reload()
        rig.proxy.log.wait_for("child_died", pid=before[0].pid)
        eventually(lambda: all(map(gone, before)), "the other has given all that it had")
        assert [sum(sessions_by_thread(worker)) for worker in rig.proxy.workers()] == [given]
        assert sum(map(lives, clients)) == given
