"""A log that takes nothing, because nobody reads it or its file system stands still: that costs lines, never time."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.logs import AccessLog
from kubelb.config.model.logs import Log as LogSettings
from kubelb.deadlines import USUAL, Deadlines
from kubelb.snapshot import SocketAddress
from tests.real.test_log_files import with_logs
from tests.real.test_logs import fill
from tests.support.eventually import eventually
from tests.support.frozen import FileSystem, a_file_system
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.log import DEADLINE, Log
from tests.support.program import impatient_command
from tests.support.proxy import EchoServers, Proxy, a_config, a_proxy, echoes, gone, reserved, sessions_by_thread
from tests.support.takeover import copy_of, descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")

SESSIONS = LogSettings(access=True)


@pytest.fixture
def servers() -> Iterator[IdentityServers]:
    with EchoServers() as servers:
        yield servers


class Unread(Proxy):
    """One whose standard error nobody reads until the test does."""

    def __init__(
        self, process: subprocess.Popen[bytes], runtime_dir: Path, address: SocketAddress, reading: int
    ) -> None:
        self.process = process  # type: ignore[assignment]
        self.runtime_dir = runtime_dir
        self._known = set()
        self._address = address
        self._reading = reading

    @property
    def address(self) -> SocketAddress:
        return self._address

    def read(self) -> Log:
        """From now on it is read, to its end."""
        if self._reading >= 0:
            self.log = Log(os.fdopen(self._reading))
            self._reading = -1
        return self.log

    def wait(self) -> int:
        self.read()
        return super().wait()

    def clean_up(self) -> None:
        self.read()
        super().clean_up()


@contextmanager
def unread(
    directory: Path, log: LogSettings, deadlines: Deadlines = USUAL, access_logs: tuple[AccessLog, ...] = ()
) -> Iterator[Unread]:
    """Its standard error is full before it starts; within, it serves."""
    with ExitStack() as stack:
        servers = stack.enter_context(EchoServers())
        address = stack.enter_context(reserved())
        config = with_logs(a_config(address, servers.addresses), log, access_logs)
        command = impatient_command(directory, config, deadlines)
        reading, writing = os.pipe()
        fill(writing)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=writing)
        os.close(writing)
        proxy = Unread(process, directory / "run", address, reading)
        stack.callback(proxy.clean_up)
        eventually(lambda: proxy.answer() and len(proxy.workers()) == 2 and ask(address), "it serves")
        yield proxy
        if proxy.lives():
            assert proxy.end() == 0


def meet(address: SocketAddress) -> str:
    """The client of a session that has ended."""
    client, _ = keep(address)
    name = name_of(client.getsockname())
    leave(client)
    return name


def replaced(proxy: Proxy, child: psutil.Process) -> bool:
    return gone(child) and child not in proxy.children() and len(proxy.workers()) == 2 and bool(proxy.answer())


def assert_goes_on(proxy: Proxy) -> None:
    """Sessions, clients, deaths of children, the operator's wishes: all of them have something said."""
    with keep(proxy.address)[0] as client:
        victim = next(worker for worker in proxy.workers() if not sum(sessions_by_thread(worker)))
        for _ in range(10):
            assert ask(proxy.address)
        victim.kill()
        eventually(lambda: replaced(proxy, victim), "another worker is in its place")
        assert ask(proxy.address)
        assert adminclient.reload(proxy.runtime_dir) == ()
        os.kill(proxy.pid, signal.SIGUSR1)
        assert proxy.status().clients
        assert echoes(client)


@pytest.mark.usefixtures("root")
def test_nobody_waits_and_what_is_lost_is_told(tmp_path: Path) -> None:
    """Also once the queue of lines is full, and although nothing is said afterwards."""
    with unread(tmp_path, LogSettings()) as proxy:
        fill_queue(proxy.workers()[0].pid)
        assert_goes_on(proxy)
        log = proxy.read()
        (lost,) = log.wait_for("log_lost")
        assert (lost["process"], lost["level"]) == ("control", "error")
        assert lost["events"] >= 1
        assert not log.events("child_died")
        assert proxy.end() == 0
        assert len(log.events("log_lost")) == 1
        assert log.events("stopped")


def fill_queue(pid: int) -> None:
    """The one that this process puts its lines into."""
    for fd in descriptors(pid, "socket:"):
        try:
            fill_if_queue(pid, fd)
        except OSError as error:
            # That of a client which has left meanwhile.
            if error.errno != errno.EBADF:
                raise


def fill_if_queue(pid: int, fd: int) -> None:
    with copy_of(pid, fd) as copy, socket.socket(fileno=os.dup(copy)) as sock, suppress(BlockingIOError):
        while (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_DGRAM):
            sock.send(b'1 {"event": "filling"}', socket.MSG_DONTWAIT)


def assert_told_once(log: Log, clients: list[str]) -> None:
    """Each of those sessions, and those of one worker in their order."""
    events = [event for event in log.events("session") if event["client"] in clients]
    assert sorted(event["client"] for event in events) == sorted(clients)
    for process in {event["process"] for event in events}:
        told = [event["client"] for event in events if event["process"] == process]
        assert told == [client for client in clients if client in told]


def test_what_was_said_while_control_was_replaced_is_written(tmp_path: Path) -> None:
    with unread(tmp_path, SESSIONS) as proxy:
        clients = [meet(proxy.address) for _ in range(30)]
        for _ in range(2):
            control = proxy.control()
            control.kill()
            eventually(lambda control=control: replaced(proxy, control), "another is in its place")  # type: ignore[misc]
            clients += [meet(proxy.address) for _ in range(30)]
        log = proxy.read()
        log.wait_for("child_died", 2, child="control")
        assert proxy.end() == 0
        assert_told_once(log, clients)
        assert not log.events("log_lost")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_what_was_said_before_a_stop_is_written(tmp_path: Path, number: signal.Signals) -> None:
    """By whoever is left, when control has gone with all other children."""
    with unread(tmp_path, SESSIONS, Deadlines(last_lines=DEADLINE)) as proxy:
        clients = [meet(proxy.address) for _ in range(30)]
        children = proxy.children()
        os.kill(proxy.pid, number)
        eventually(lambda: all(map(gone, children)), "they have ended")
        assert proxy.wait() == 0
        assert_told_once(proxy.log, clients)
        last = proxy.log.text.splitlines()[-1]
        assert '"stopped"' in last
        assert len(proxy.log.events("stopping", process="supervisor")) >= 1


def test_a_reader_that_has_fallen_asleep_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    with unread(tmp_path, SESSIONS) as proxy:
        meet(proxy.address)
        os.kill(proxy.pid, signal.SIGTERM)
        assert proxy.process.wait(DEADLINE) == 0


def test_the_log_is_written_while_it_drains_without_control(tmp_path: Path, servers: IdentityServers) -> None:
    """Nobody takes control's place then."""
    with a_proxy(tmp_path, servers.addresses, log=SESSIONS) as proxy:
        (one, _), (other, _) = keep(proxy.address), keep(proxy.address)
        os.kill(proxy.pid, signal.SIGQUIT)
        proxy.log.wait_for("stopping")
        proxy.control().kill()
        name = name_of(one.getsockname())
        leave(one)
        proxy.log.wait_for("session", client=name)
        assert echoes(other)
        leave(other)
        assert proxy.wait() == 0
        assert len(proxy.log.events("session")) == 2
        assert proxy.log.events("stopped")


def test_the_log_of_workers_that_have_lost_their_supervisor_is_written(
    tmp_path: Path, servers: IdentityServers
) -> None:
    with a_proxy(tmp_path, servers.addresses, log=SESSIONS) as proxy:
        children = proxy.children()
        client, _ = keep(proxy.address)
        proxy.supervisor.kill()
        proxy.log.wait_for("supervisor_gone", 2)
        name = name_of(client.getsockname())
        leave(client)
        proxy.log.wait_for("session", client=name)
        eventually(lambda: all(map(gone, children)), "nobody is left")


# Files.


def opened_by(processes: list[psutil.Process], path: Path) -> list[int]:
    """Which of the processes have it open."""
    links = {process.pid: Path("/proc", str(process.pid), "fd").iterdir() for process in processes}
    return [pid for pid, found in links.items() if any(_leads_to(link, path) for link in found)]


def _leads_to(link: Path, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return str(link.readlink()) == str(path)
    return False


def test_who_does_not_write_the_log_has_it_not_open(tmp_path: Path) -> None:
    """And a file that was renamed is given up by all."""
    path = tmp_path / "log"
    with unread(tmp_path, LogSettings(file=str(path))) as proxy:
        family = [proxy.supervisor, *proxy.children()]
        assert set(opened_by(family, path)) == {proxy.pid, proxy.control().pid}
        path.rename(tmp_path / "old")
        os.kill(proxy.pid, signal.SIGUSR1)
        eventually(lambda: not opened_by(family, tmp_path / "old"), "nobody has it open any more")
        assert set(opened_by(family, path)) == {proxy.pid, proxy.control().pid}
        proxy.control().kill()
        eventually(lambda: "child_died" in path.read_text(), "the next control writes there, too")


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[FileSystem]:
    with a_file_system(tmp_path) as file_system:
        yield file_system


def test_nobody_waits_for_a_file_system_that_stands_still(tmp_path: Path, frozen: FileSystem) -> None:
    path = frozen.path / "log"
    with unread(tmp_path, LogSettings(file=str(path), access=True)) as proxy:
        frozen.freeze()
        before = meet(proxy.address)
        assert_goes_on_without_reload(proxy)
        frozen.thaw()
        eventually(lambda: before in path.read_text() and "child_died" in path.read_text(), "all is written")
        path.rename(frozen.path / "old")
        os.kill(proxy.pid, signal.SIGUSR1)
        eventually(path.exists, "it is opened anew")


def assert_goes_on_without_reload(proxy: Proxy) -> None:
    """What reads the configuration tries whether the file can be opened, and waits; nobody waits for that."""
    victim = proxy.workers()[0]
    os.kill(proxy.pid, signal.SIGUSR1)
    os.kill(proxy.pid, signal.SIGHUP)
    victim.kill()
    eventually(lambda: replaced_beside_others(proxy, victim), "another worker is in its place")
    for _ in range(10):
        assert ask(proxy.address)
    assert proxy.status().clients


def replaced_beside_others(proxy: Proxy, child: psutil.Process) -> bool:
    return gone(child) and child not in proxy.children() and len(proxy.workers()) >= 2


@pytest.mark.parametrize("kind", ["events", "access"])
def test_a_file_system_that_stands_still_does_not_keep_it_from_ending(
    tmp_path: Path, frozen: FileSystem, kind: str
) -> None:
    """Nobody can end who waits for it; they end when it goes on."""
    path = frozen.path / "log"
    log = LogSettings(file=str(path)) if kind == "events" else LogSettings()
    logs = () if kind == "events" else (AccessLog(file=str(path)),)
    with unread(tmp_path, log, Deadlines(stop=0.5, last_lines=0.5), logs) as proxy:
        children = proxy.children()
        frozen.freeze()
        meet(proxy.address)
        os.kill(proxy.pid, signal.SIGTERM)
        assert proxy.process.wait(DEADLINE) == 0
        frozen.thaw()
        eventually(lambda: all(map(gone, children)), "they have ended")
