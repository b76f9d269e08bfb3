"""The real ``kubelb run`` for a test: a child process with its own runtime directory, ended by its pid.

Its standard error is read by a thread as it comes, so the pipe never fills, and the log tells when it is ready. Where
it listens is reserved before (:func:`reserved`), so no port is guessed, not even for a second start.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import PASSIVE, Balance, Pool, Server
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.control.status import Server as ServerStatus
from kubelb.control.status import Status
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers
from tests.support.log import DEADLINE, Log

KUBELB = Path(sys.executable).with_name("kubelb")


class Proxy:
    """A running one."""

    def __init__(self, process: subprocess.Popen[str], runtime_dir: Path) -> None:
        assert process.stderr is not None
        self.process = process
        self.runtime_dir = runtime_dir
        self.log = Log(process.stderr)
        self._known: set[psutil.Process] = set()

    @property
    def pid(self) -> int:
        """The supervisor's: after an upgrade another one's."""
        try:
            return int((self.runtime_dir / "kubelb.pid").read_text())
        except (FileNotFoundError, ValueError):
            return self.process.pid

    @property
    def supervisor(self) -> psutil.Process:
        found = psutil.Process(self.pid)
        self._known.add(found)
        return found

    def upgrade(self) -> int:
        """Have another supervisor take its place; that one's pid, once it has all sessions."""
        self._known.add(self.supervisor)
        pid = adminclient.upgrade(self.runtime_dir)
        self._known.add(psutil.Process(pid))
        return pid

    def standing(self) -> psutil.Process:
        """The supervisor that an upgrade has started, once it has stopped itself."""

        def found() -> psutil.Process | None:
            for process in psutil.process_iter(["cmdline", "status"]):
                is_ours = str(self.runtime_dir) in (process.info["cmdline"] or [])
                if is_ours and process.info["status"] == psutil.STATUS_STOPPED:
                    return process
            return None

        new = eventually(found, "the new supervisor stands still")
        self._known.update((new, *new.children()))
        return new

    @property
    def addresses(self) -> list[SocketAddress]:
        """Where it listens."""
        (started,) = self.log.wait_for("started")
        parsed = (re.fullmatch(r"\[?([^]]+)\]?:(\d+)", text) for text in started["listeners"])
        return [(match[1], int(match[2])) for match in parsed if match]

    @property
    def address(self) -> SocketAddress:
        return self.addresses[0]

    def children(self) -> list[psutil.Process]:
        found = self.supervisor.children(recursive=True)
        self._known.update(found)
        return found

    def control(self) -> psutil.Process:
        """The one with the admin socket."""
        return next(child for child in self.children() if self._has_admin_socket(child))

    def workers(self) -> list[psutil.Process]:
        """Those that have begun to work: they poll, as a child that only reads the configuration does not."""
        return [child for child in self.children() if _polls(child) and not self._has_admin_socket(child)]

    def _has_admin_socket(self, child: psutil.Process) -> bool:
        path = str(self.runtime_dir / adminclient.NAME)
        with suppress(psutil.NoSuchProcess):
            return any(str(connection.laddr) == path for connection in child.net_connections("unix"))
        return False

    def status(self) -> Status:
        return adminclient.status(self.runtime_dir, DEADLINE)

    def answer(self) -> Status | None:
        """None: control has just died, or nobody runs."""
        with suppress(adminclient.AdminFault):
            return self.status()
        return None

    def servers(self) -> tuple[ServerStatus, ...]:
        """Of the first pool, in configured order."""
        return self.status().pools[0].servers

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status after that signal, when none of its processes is left."""
        os.kill(self.pid, number)
        return self.wait()

    def lives(self) -> bool:
        if self.process.poll() is None:
            return True
        with suppress(psutil.NoSuchProcess):
            return not gone(self.supervisor)
        return False

    def wait(self) -> int:
        code = self.process.wait(DEADLINE)
        self.log.wait_end()
        return code

    def clean_up(self) -> None:
        """Whatever the test left."""
        with suppress(psutil.NoSuchProcess):
            self._known.update(self.supervisor.children(recursive=True))
        self.process.kill()
        for child in self._known:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()
        self.log.wait_end()


@contextmanager
def running(
    directory: Path,
    *arguments: str,
    config: Config | str | None = None,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    own_session: bool = False,
) -> Iterator[Proxy]:
    """Run it with ``directory``/run as its runtime directory; within, it has started.

    ``config`` is written to a TOML file. ``prepare`` is called in the new process before it becomes kubelb. Left
    alive it is ended as by an operator, which has to go well, and its log must show no fault of our own.
    """
    if config is not None:
        file = directory / "kubelb.toml"
        file.write_text(write_toml(config) if isinstance(config, Config) else config)
        arguments = ("--config", str(file), *arguments)
    runtime_dir = directory / "run"
    command = [str(KUBELB), "run", "--runtime-dir", str(runtime_dir), *arguments]
    with started(command, runtime_dir, environment, prepare, own_session) as proxy:
        yield proxy


@contextmanager
def started(
    command: Sequence[str],
    runtime_dir: Path,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    own_session: bool = False,
    pass_fds: Sequence[int] = (),
) -> Iterator[Proxy]:
    """As :func:`running`, for any command that comes to the same."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        preexec_fn=prepare,
        start_new_session=own_session,
        pass_fds=pass_fds,
    )
    proxy = Proxy(process, runtime_dir)
    try:
        proxy.log.wait_for("started")
        proxy.children()
        yield proxy
        if proxy.lives():
            assert (proxy.end(), proxy.log.text) == (0, proxy.log.text)
        for event in ("internal_error", "not JSON"):
            assert not proxy.log.events(event), proxy.log.text
    finally:
        proxy.clean_up()


@contextmanager
def reserved(host: str = "127.0.0.1", port: int = 0) -> Iterator[SocketAddress]:
    """An address nobody else gets, on which one process after the other may listen."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as holder:
        if ":" in host:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
        yield holder.getsockname()[:2]


def a_config(
    listen: SocketAddress,
    servers: Sequence[SocketAddress | Server],
    balance: Balance = "least_conn",
    connect_timeout: float = 2,
    **settings: Any,
) -> Config:
    """One listener and one pool; ``settings`` are those of the whole proxy (2 workers unless they say otherwise)."""
    members = [server if isinstance(server, Server) else Server(address=Address(*server)) for server in servers]
    listener = Listener(listen=(Address(*listen),), pool="pool", connect_timeout=Duration(connect_timeout))
    pool = Pool(servers=tuple(members), balance=balance, health=PASSIVE)
    return Config(**{"workers": 2, **settings}, listeners=(listener,), pools={"pool": pool})


@contextmanager
def a_proxy(
    directory: Path,
    servers: Sequence[SocketAddress | Server],
    balance: Balance = "least_conn",
    connect_timeout: float = 2,
    prepare: Callable[[], None] | None = None,
    **settings: Any,
) -> Iterator[Proxy]:
    """One that runs with :func:`a_config`, on a port of its own."""
    with ExitStack() as stack:
        listen = stack.enter_context(reserved())
        config = a_config(listen, servers, balance, connect_timeout, **settings)
        yield stack.enter_context(running(directory, config=config, prepare=prepare))


class EchoServers(IdentityServers):
    """Identity servers that, once they have said who they are, say what they hear."""

    def __init__(self, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        super().__init__(hosts, stay=True)

    def _hear(self, client: socket.socket) -> None:
        with suppress(ConnectionError):
            if heard := client.recv(65536):
                client.sendall(heard)
                return
        self._selector.unregister(client)
        client.close()


def echoes(client: socket.socket, words: bytes = b"are you there?") -> bool:
    """Whether the session still carries bytes, both ways."""
    client.sendall(words)
    heard = b""
    while len(heard) < len(words) and (piece := client.recv(len(words) - len(heard))):
        heard += piece
    return heard == words


def lives(client: socket.socket) -> bool:
    """Whether there is still a session, which may have been broken off."""
    try:
        return echoes(client)
    except (ConnectionResetError, BrokenPipeError):
        return False


def _polls(process: psutil.Process) -> bool:
    with suppress(OSError):
        return "anon_inode:[eventpoll]" in map(target_of, Path(f"/proc/{process.pid}/fd").iterdir())
    return False


def target_of(link: Path) -> str:
    """What it leads to; empty where it is gone already."""
    with suppress(OSError):
        return str(link.readlink())
    return ""


def sessions_by_thread(worker: psutil.Process) -> list[int]:
    """How many sessions each relay thread of a worker holds: what its epoll watches, two sockets a session."""
    directory = Path("/proc", str(worker.pid))
    epolls = [fd for fd in (directory / "fd").iterdir() if target_of(fd) == "anon_inode:[eventpoll]"]
    return [_watched(directory, fd.name) // 2 for fd in sorted(epolls)]


def _watched(directory: Path, epoll: str) -> int:
    """The connected sockets among the descriptors in an epoll."""
    connected = {line.split()[9] for table in ("tcp", "tcp6") for line in _connected(directory / "net" / table)}
    fds = re.findall(r"^tfd: +(\d+)", (directory / "fdinfo" / epoll).read_text(), re.MULTILINE)
    names = [target_of(directory / "fd" / fd) for fd in fds]
    return sum(name.removeprefix("socket:[").removesuffix("]") in connected for name in names)


def _connected(table: Path) -> list[str]:
    """The lines of /proc/net/tcp that are no listening sockets (state 0A)."""
    return [line for line in table.read_text().splitlines()[1:] if line.split()[3] != "0A"]


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, be it that nobody has taken note yet.

    Its first thread may have while others have not: then nobody could.
    """
    try:
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
    except psutil.NoSuchProcess:
        return True


def refuses(address: SocketAddress) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection(address, timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def suspended(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """They stand still within; those that are left go on after it."""
    for process in processes:
        process.suspend()
    eventually(lambda: all(process.status() == psutil.STATUS_STOPPED for process in processes), "they stand still")
    yield
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
