"""One of two supervisors is killed as soon as it has said something to the other: no session is lost by it.

Whoever is left serves, if it can; all that the operator has to do is to try again.
"""

from __future__ import annotations

import os
import signal
import socket
import typing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.deadlines import Deadlines
from kubelb.snapshot import SocketAddress
from kubelb.stats import Table
from kubelb.wire.message_sets import FromPredecessor, FromSuccessor
from kubelb.wire.messages import Descriptors, Drained, Failed, Inherit, Legacy, Quit, Serve, Stop, TakeOver
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave
from tests.support.last_words import Trap
from tests.support.program import OURS, STANDING, a_program, impatient
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, gone, refuses, reserved, suspended
from tests.support.takeover import descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as echo_servers:
        yield echo_servers.addresses


class Rig:
    def __init__(self, proxy: Proxy, program: Path, clients: list[socket.socket]) -> None:
        self.proxy = proxy
        self.program = program
        self.old = proxy.supervisor
        self.address = proxy.address
        self._clients = clients

    def begin(self) -> None:
        self.old.send_signal(signal.SIGUSR2)

    def sessions_live(self) -> bool:
        return all(map(echoes, self._clients))

    def leave(self) -> None:
        for client in self._clients:
            leave(client)


@contextmanager
def a_rig(directory: Path, servers: list[SocketAddress], code: str = OURS) -> Iterator[Rig]:
    with a_program(directory, servers, code) as (proxy, program), ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(6)]
        yield Rig(proxy, program, clients)


# The new one.


def the_old_one_goes_on(rig: Rig) -> None:
    rig.begin()
    rig.proxy.log.wait_for("upgrade_failed")
    eventually(lambda: _answers(rig.proxy, rig.old), "it answers, and has all of them")


def _answers(proxy: Proxy, supervisor: psutil.Process) -> bool:
    answer = proxy.answer()
    return answer is not None and (answer.pid, answer.clients.active) == (supervisor.pid, 6)


def the_old_one_goes_on_and_knows_why(rig: Rig) -> None:
    file = rig.proxy.runtime_dir.parent / "kubelb.toml"
    text = file.read_text()
    file.write_text("nonsense")
    with pytest.raises(AdminFault, match="not TOML"):
        rig.proxy.upgrade()
    file.write_text(text)


OF_THE_NEW: dict[type[msgspec.Struct], Callable[[Rig], None]] = {
    Inherit: the_old_one_goes_on,
    TakeOver: the_old_one_goes_on,
    Failed: the_old_one_goes_on_and_knows_why,
}


def test_all_that_the_new_one_may_say_is_tried() -> None:
    assert {*OF_THE_NEW, Quit} == set(typing.get_args(FromSuccessor))


@pytest.mark.parametrize("word", OF_THE_NEW, ids=lambda word: word.__name__)
def test_the_last_word_of_a_new_supervisor(
    tmp_path: Path, servers: list[SocketAddress], word: type[msgspec.Struct]
) -> None:
    trap = Trap(tmp_path, "FROM_PREDECESSOR", [word])
    with a_rig(tmp_path, servers) as rig:
        rig.program.write_text(trap.code)
        trap.arm()
        OF_THE_NEW[word](rig)
        assert trap.has_sprung
        assert rig.sessions_live()
        assert ask(rig.address)
        rig.program.write_text(OURS)
        assert rig.proxy.upgrade() != rig.old.pid
        assert rig.sessions_live()
        rig.leave()


def test_a_new_one_whose_child_dies_on_its_way_says_so(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_rig(tmp_path, servers) as rig:
        before = rig.proxy.children()
        rig.program.write_text(f"import os, kubelb.control.main as it\nit.run = lambda setup: os._exit(3)\n{OURS}")
        with pytest.raises(AdminFault, match="control has died: exit status 3"):
            rig.proxy.upgrade()
        assert rig.proxy.children() == before
        assert rig.sessions_live()
        rig.leave()


def test_a_stop_that_the_new_one_has_passed_on_before_it_died(tmp_path: Path, servers: list[SocketAddress]) -> None:
    trap = Trap(tmp_path, "FROM_PREDECESSOR", [Quit])
    with a_rig(tmp_path, servers) as rig:
        rig.program.write_text(trap.code)
        trap.arm()
        with suspended(rig.proxy.workers()):
            rig.begin()
            rig.proxy.log.wait_for("started", count=2)
            adminclient.stop(rig.proxy.runtime_dir, gracefully=False)
            eventually(lambda: trap.has_sprung, "it has said so")
        eventually(lambda: gone(rig.old), "the old one has gone")
        eventually(lambda: refuses(rig.address), "nobody is left")


# The old one.


def the_new_one_serves(rig: Rig) -> None:
    rig.begin()
    eventually(lambda: gone(rig.old), "it has gone")
    rig.proxy.log.wait_for("started", count=2)
    assert rig.proxy.pid != rig.old.pid
    assert ask(rig.address)


def nobody_serves(rig: Rig) -> None:
    """The new one has not got what it takes. The sessions go on where they are."""
    rig.begin()
    eventually(lambda: gone(rig.old), "it has gone")
    eventually(lambda: refuses(rig.address), "nobody listens there")


def nobody_is_to_serve(rig: Rig) -> None:
    """The operator wants it to stop at once, and not to be succeeded."""
    rig.program.write_text(STANDING)
    rig.begin()
    new = rig.proxy.standing()
    rig.old.terminate()
    eventually(lambda: gone(rig.old), "it has gone")
    new.resume()
    eventually(lambda: gone(new), "the new one goes too")


OF_THE_OLD: dict[type[msgspec.Struct], Callable[[Rig], None]] = {
    Legacy: nobody_serves,
    Descriptors: the_new_one_serves,
    Serve: the_new_one_serves,
    Drained: the_new_one_serves,
    Stop: nobody_is_to_serve,
}


def test_all_that_the_old_one_may_say_is_tried() -> None:
    assert set(OF_THE_OLD) == set(typing.get_args(FromPredecessor))


@pytest.mark.parametrize(
    ("word", "count"),
    [*((word, 1) for word in OF_THE_OLD), (Descriptors, 2)],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_the_last_word_of_an_old_supervisor(
    tmp_path: Path, servers: list[SocketAddress], word: type[msgspec.Struct], count: int
) -> None:
    """What it has left is there: all sockets after the first descriptors, ways for some sessions after the second."""
    trap = Trap(tmp_path, "FROM_SUCCESSOR", [word], count)
    with a_rig(tmp_path, servers, trap.code) as rig:
        workers = rig.proxy.workers()
        rig.program.write_text(OURS)
        trap.arm()
        OF_THE_OLD[word](rig)
        assert trap.has_sprung
        assert rig.sessions_live()
        rig.leave()
        eventually(lambda: all(map(gone, workers)), "they have nothing to do any more")
        assert rig.proxy.end() == -signal.SIGKILL, "that is how the first one ended"


# What is not said, or not understood.

SAYS = """\
import select
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Serve, TakeOver
send = Channel._send


def say(channel, message, fds, flags):
    if isinstance(message, {word}):
        {instead}
    return send(channel, message, fds, flags)


Channel._send = say
"""
"""A supervisor that says one thing in another way."""


def test_a_new_one_that_says_what_nobody_knows_does_not_serve(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """It may be newer than the old one by more than that can know."""
    with a_rig(tmp_path, servers) as rig:
        before = rig.proxy.children()
        rig.program.write_text(SAYS.format(word="TakeOver", instead='message = TakeOver("all")') + OURS)
        with pytest.raises(AdminFault, match="another one than this can leave things to"):
            rig.proxy.upgrade()
        gives_up(rig, before)


def test_an_old_one_that_says_what_nobody_knows_goes_on(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """The new one may be older than that: somebody wants to go back."""
    with a_rig(tmp_path, servers, SAYS.format(word="Serve", instead='message = TakeOver("all")') + OURS) as rig:
        rig.program.write_text(OURS)
        with pytest.raises(AdminFault, match="another one than this can succeed"):
            rig.proxy.upgrade()
        assert rig.proxy.supervisor == rig.old
        eventually(lambda: _answers(rig.proxy, rig.old), "it has all sessions")
        assert rig.sessions_live()
        assert ask(rig.address)
        rig.leave()


def test_a_new_one_that_is_too_late_does_not_serve(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with reserved() as listen, ExitStack() as held:
        a_proxy = impatient(tmp_path, a_config(listen, servers), Deadlines(take_over=2.0))
        proxy, program = held.enter_context(a_proxy), tmp_path / "program.py"
        rig = Rig(proxy, program, [held.enter_context(keep(listen)[0])])
        before = proxy.children()
        waits = SAYS.format(word="TakeOver", instead="select.select([channel], [], [])")
        program.write_text(waits + program.read_text())
        rig.begin()
        proxy.log.wait_for("upgrade_failed", fault="the new kubelb was not ready in time")
        gives_up(rig, before)


def running(program: Path) -> set[psutil.Process]:
    return {one for one in psutil.process_iter(["cmdline"]) if str(program) in (one.info["cmdline"] or [])}


def gives_up(rig: Rig, before: list[psutil.Process]) -> None:
    """Two that serve would know nothing of each other."""
    ours = {rig.old, *before}
    eventually(lambda: running(rig.program) == ours, "it has ended")
    assert len(rig.proxy.log.events("started")) == 1
    assert rig.proxy.supervisor == rig.old
    assert rig.proxy.children() == before
    assert rig.sessions_live()
    rig.leave()


def test_a_worker_that_dies_before_it_has_been_given_anything(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """The one in its place is given it."""
    with a_rig(tmp_path, servers) as rig:
        workers = rig.proxy.workers()
        with suspended(workers):
            rig.begin()
            rig.proxy.log.wait_for("started", count=2)
            takers = rig.proxy.workers()
            assert set(takers).isdisjoint(workers)
            for taker in takers:
                taker.kill()
            rig.proxy.log.wait_for("child_died", count=2)
            eventually(lambda: len(rig.proxy.workers()) == 2, "others are in their places")
        eventually(lambda: gone(rig.old), "all sessions are with the new one")
        assert rig.sessions_live()
        assert rig.proxy.status().clients.active == 6
        rig.leave()


def _rows_after_an_upgrade(proxy: Proxy) -> int:
    """Of the shared counters, that are looked at."""
    pid = proxy.upgrade()
    fd, *_ = descriptors(pid, "/memfd:kubelb-counters")
    table = Table.attach(os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR))
    rows = table.rows
    table.close()
    return rows


def test_there_is_room_in_the_counters_for_any_number(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_rig(tmp_path, servers) as rig:
        rows = [_rows_after_an_upgrade(rig.proxy) for _ in range(5)]
        assert rows == [rows[0]] * 5
        assert rig.proxy.status().clients.active == 6
        assert rig.sessions_live()
        rig.leave()
