"""A child that has been taken over gains nothing: whatever it says, the supervisor lives, and serves as before.

The supervisor is root, its children are nobody. What a child says is said through its own channel.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Process
from kubelb.control.commands import Drain
from kubelb.snapshot import Snapshot
from kubelb.stats import _BYTES, _IN_USE, ROWS
from kubelb.wire.message_sets import Message, encode
from kubelb.wire.messages import (
    AskSessions,
    PoolsChanged,
    Quit,
    Ready,
    Refused,
    Release,
    SessionList,
    Sighting,
    SnapshotChanged,
    Upgrade,
)
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave
from tests.support.proxy import Proxy, a_proxy, echoes, gone, suspended
from tests.support.takeover import USER, channel_of, copy_of, descriptors, reach_of_user, say, status_of
from tests.support.users import open_to_all

pytestmark = pytest.mark.usefixtures("no_leaks", "root")

IN_FILE = b"\xc0"
SNAPSHOT = SnapshotChanged(Snapshot(version=99, listeners=(), pools=()))


@contextmanager
def a_rooted_proxy(directory: Path, servers: IdentityServers, workers: int = 2) -> Iterator[Proxy]:
    open_to_all(directory)
    with a_proxy(directory, servers.addresses, workers=workers, process=Process(user=USER)) as proxy:
        assert {child.username() for child in proxy.children()} == {USER}
        yield proxy


def assert_ended(proxy: Proxy, child: psutil.Process, reason: str = "") -> None:
    """That child alone, with one line, and another one is in its place; everybody is served."""
    supervisor = proxy.pid
    (line,) = proxy.log.wait_for("child_misbehaved")
    assert (line["pid"], line["level"]) == (child.pid, "error")
    assert reason in line["reason"]
    eventually(lambda: gone(child), "it has been ended")
    eventually(lambda: len(proxy.children()) == 3 and proxy.status().clients.active == 0, "it is replaced")
    assert proxy.pid == supervisor
    assert ask(proxy.address)
    assert len(proxy.log.events("child_misbehaved")) == 1
    assert not proxy.log.events("child_died")
    assert not proxy.log.events("supervisor_gone")


def a_pipe() -> int:
    """One that may be read and written, so that a reader waits for ever."""
    read, write = os.pipe()
    try:
        return os.open(f"/proc/self/fd/{read}", os.O_RDWR)
    finally:
        os.close(read)
        os.close(write)


def a_file(data: bytes) -> int:
    fd = os.memfd_create("stranger", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    return fd


# What it says.

Words = Callable[[socket.socket], None]
NO_WORKERS_WORDS: dict[str, Words] = {
    "garbage": lambda channel: say(channel, b"\x01garbage"),
    "nothing": lambda channel: say(channel, b""),
    "no more": lambda channel: channel.shutdown(socket.SHUT_WR),
    "too much": lambda channel: say(channel, bytes(100 << 10)),
    "a descriptor": lambda channel: say(channel, encode(Ready()), os.eventfd(0)),
    "many descriptors": lambda channel: say(channel, encode(Ready()), *(os.eventfd(0) for _ in range(200))),
    "a pipe for a message": lambda channel: say(channel, IN_FILE, a_pipe()),
    "a file for a message": lambda channel: say(channel, IN_FILE, a_file(b"")),
    "no file for a message": lambda channel: say(channel, IN_FILE),
    "ready twice": lambda channel: say(channel, encode(Ready())),
    "a stop": lambda channel: say(channel, encode(Quit(gracefully=False))),
    "an upgrade": lambda channel: say(channel, encode(Upgrade())),
    "a snapshot": lambda channel: say(channel, encode(SNAPSHOT)),
    "a slot there is not": lambda channel: say(channel, encode(Sighting(256, 1.0, ""))),
    "a time to come": lambda channel: say(channel, encode(Sighting(1, 1e9, ""))),
    "sessions of another row": lambda channel: say(channel, encode(SessionList(1, ROWS - 1, 0, (), last=True))),
}


@pytest.mark.parametrize("words", NO_WORKERS_WORDS.values(), ids=NO_WORKERS_WORDS)
def test_a_worker_that_says_what_none_says_is_ended(tmp_path: Path, servers: IdentityServers, words: Words) -> None:
    with a_rooted_proxy(tmp_path, servers) as proxy:
        worker = proxy.workers()[0]
        with channel_of(worker.pid) as channel:
            words(channel)
        assert_ended(proxy, worker)


NO_CONTROLS_WORDS: dict[str, Words] = {
    "garbage": lambda channel: say(channel, b"\x01garbage"),
    "nothing": lambda channel: say(channel, b""),
    "a descriptor": lambda channel: say(channel, encode(Ready()), os.eventfd(0)),
    "a pipe for a message": lambda channel: say(channel, IN_FILE, a_pipe()),
    "a file that may be cut off": lambda channel: say(channel, IN_FILE, a_file(encode(AskSessions(1, None)))),
    "ready twice": lambda channel: say(channel, encode(Ready())),
    "what a worker has seen": lambda channel: say(channel, encode(Sighting(1, 1.0, ""))),
    "a slot there is not": lambda channel: say(channel, encode(Release(0, (), 1.0))),
    "more rows than there are": lambda channel: say(channel, encode(Release(1, (1,) * (ROWS + 1), 1.0))),
    "what the supervisor says": lambda channel: say(channel, encode(SNAPSHOT)),
    "what a reader says": lambda channel: say(channel, encode(Refused(()))),
    "an older snapshot": lambda channel: say(channel, encode(PoolsChanged(0, 0, ()))),
    "a configuration that nobody has read": lambda channel: say(channel, encode(PoolsChanged(1, 99, ()))),
}


@pytest.mark.parametrize("words", NO_CONTROLS_WORDS.values(), ids=NO_CONTROLS_WORDS)
def test_control_that_says_what_it_never_says_is_ended(
    tmp_path: Path, servers: IdentityServers, words: Words
) -> None:
    with a_rooted_proxy(tmp_path, servers) as proxy:
        control = proxy.control()
        with channel_of(control.pid) as channel:
            words(channel)
        assert_ended(proxy, control)


def test_its_sessions_are_counted_no_more(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rooted_proxy(tmp_path, servers, workers=1) as proxy:
        client, _ = keep(proxy.address)
        (worker,) = proxy.workers()
        assert proxy.status().clients.active == 1
        with channel_of(worker.pid) as channel:
            say(channel, b"\x01garbage")
        proxy.log.wait_for("child_misbehaved")
        with client, suppress(ConnectionResetError):
            assert client.recv(1) == b""
        eventually(lambda: proxy.status().clients.active == 0, "nobody is counted any more")
        eventually(lambda: ask(proxy.address), "it is replaced")


def test_a_stop_is_heard_from_one_that_has_died(tmp_path: Path, servers: IdentityServers) -> None:
    """Those that have died with it are told to end, too."""
    with a_rooted_proxy(tmp_path, servers) as proxy:
        control, workers = proxy.control(), proxy.workers()
        with channel_of(control.pid) as channel, suspended([proxy.supervisor]):
            say(channel, encode(Quit(gracefully=False)))
            for child in (*workers, control):
                child.kill()
            eventually(lambda: all(map(gone, (*workers, control))), "they have died")
        assert proxy.wait() == 0


class Flood:
    """Somebody says a message through a channel, as fast as it is heard."""

    def __init__(self, channel: socket.socket, message: Message) -> None:
        self.taken = 0
        self._channel = channel
        self._data = encode(message)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="flood")
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            try:
                self._channel.send(self._data, socket.MSG_DONTWAIT)
                self.taken += 1
            except BlockingIOError:
                pass
            except OSError:
                return

    def end(self) -> None:
        self._ended = True
        self._thread.join()


@contextmanager
def flooding(child: psutil.Process, message: Message) -> Iterator[Flood]:
    with channel_of(child.pid) as channel:
        flood = Flood(channel, message)
        try:
            yield flood
        finally:
            flood.end()


MUCH = 20_000
"""Messages; more than several channels have room for."""


@pytest.mark.parametrize("message", [AskSessions(1, None), Release(1, (), 1.0)], ids=["questions", "releases"])
def test_control_that_has_no_end_of_words_does_not_have_workers_ended(
    tmp_path: Path, servers: IdentityServers, message: Message
) -> None:
    """A worker that has no time for them is not stuck."""
    with a_rooted_proxy(tmp_path, servers) as proxy:
        client, _ = keep(proxy.address)
        workers = proxy.workers()
        with suspended(workers), flooding(proxy.control(), message) as flood:
            eventually(lambda: flood.taken > MUCH, "much has been said")
        assert echoes(client)
        assert proxy.workers() == workers
        leave(client)


def test_a_worker_that_has_no_end_of_words_does_not_keep_control_from_hearing_others(
    tmp_path: Path, servers: IdentityServers
) -> None:
    with a_rooted_proxy(tmp_path, servers) as proxy:
        with suspended([proxy.control()]), flooding(proxy.workers()[0], Sighting(1, 1.0, "")) as flood:
            eventually(lambda: flood.taken > MUCH, "much has been said")
            proxy.supervisor.send_signal(signal.SIGHUP)
            eventually(lambda: flood.taken > 2 * MUCH, "and more")
        proxy.log.wait_for("reloaded")
        assert not proxy.log.events("child_misbehaved")


# What it does to what it shares.


def table_of(child: psutil.Process) -> int:
    return descriptors(child.pid, "/memfd:kubelb-counters")[0]


def test_the_counters_cannot_be_cut_off(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rooted_proxy(tmp_path, servers) as proxy:
        worker = proxy.workers()[0]
        with copy_of(worker.pid, table_of(worker)) as table:
            for size in (0, _BYTES - 1, _BYTES + 1):
                with pytest.raises(PermissionError):
                    os.ftruncate(table, size)
            with pytest.raises(PermissionError):
                fcntl.fcntl(table, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        worker.kill()
        eventually(lambda: len(proxy.workers()) == 2, "it is replaced")
        assert ask(proxy.address)


def test_the_supervisor_believes_nothing_in_the_counters(tmp_path: Path, servers: IdentityServers) -> None:
    """Neither how many rows there are, nor that its own counts leave room for one more."""
    with a_rooted_proxy(tmp_path, servers) as proxy:
        worker, supervisor = proxy.workers()[0], proxy.pid
        with copy_of(worker.pid, table_of(worker)) as table, mmap.mmap(table, _BYTES) as memory:
            control = proxy.control()
            memory[: 8 * 72] = b"\xff" * 8 * 72
            memory[8 * _IN_USE : 8 * _IN_USE + 8] = b"\xff" * 8
            control.kill()
            worker.kill()
        proxy.log.wait_for("child_died", 2)
        eventually(lambda: len(proxy.children()) == 3 and proxy.servers(), "both are replaced")
        adminclient.command(proxy.runtime_dir, Drain(proxy.servers()[0].name))
        assert proxy.pid == supervisor


# What it may do.


def test_it_gets_at_nobody_and_never_gets_more_rights(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rooted_proxy(tmp_path, servers) as proxy:
        for process in (proxy.supervisor, *proxy.children()):
            assert reach_of_user(process.pid) == (0, -1)
        for child in proxy.children():
            assert status_of(child.pid, "NoNewPrivs") == "1"
            assert status_of(child.pid, "CapEff") == "0" * 16
            assert set(status_of(child.pid, "Uid").split()) == {"65534"}
            # A name in /proc belongs to root where nobody else may look into the process (proc(5)).
            assert Path("/proc", str(child.pid), "mem").stat().st_uid == 0


def test_the_supervisor_may_go_on_as_before(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rooted_proxy(tmp_path, servers) as proxy:
        assert status_of(proxy.pid, "NoNewPrivs") == "0", "an upgrade starts another supervisor"
        client, _ = keep(proxy.address)
        proxy.upgrade()
        assert echoes(client)
        leave(client)
