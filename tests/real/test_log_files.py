"""Logs in files: who is written there, how they are opened anew, and what a reload changes."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import psutil
import pytest
from structlog.testing import capture_logs

from kubelb.cli import adminclient
from kubelb.config.log_files import log_file_faults
from kubelb.config.model.config import Config, Process
from kubelb.config.model.logs import AccessLog, Log
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Duration
from kubelb.config.variables import Client, Opening, Worker
from kubelb.snapshot import Listener, Snapshot, SocketAddress
from kubelb.worker import accesslog as worker
from tests.support.eventually import eventually
from tests.support.holes import a_hole
from tests.support.identity import IdentityServers, keep, leave, name_of, refusing, reset
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, Proxy, a_config, reserved, running
from tests.support.users import open_to_all

pytestmark = pytest.mark.usefixtures("no_leaks")

PLAIN = "$remote_addr:$remote_port $status $upstream_addr $pid"


class Rig:
    """A proxy and the file it goes by."""

    def __init__(self, proxy: Proxy, directory: Path, config: Config) -> None:
        self.proxy = proxy
        self.config = config
        self._directory = directory

    @property
    def address(self) -> SocketAddress:
        (listener,) = self.config.listeners
        (address,) = listener.listen
        return address.host, address.port

    def path(self, name: str) -> Path:
        return self._directory / name

    def lines(self, name: str) -> list[str]:
        path = self.path(name)
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, name: str, count: int) -> list[str]:
        eventually(lambda: len(self.lines(name)) >= count, f"{count} lines in {name}")
        return self.lines(name)

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        return [record for record in map(json.loads, self.lines(name)) if record["event"] == event]

    def is_open(self, name: str) -> bool:
        """Whether a child has the file open."""
        for child in self.proxy.children():
            with suppress(psutil.NoSuchProcess):
                if str(self.path(name)) in {file.path for file in child.open_files()}:
                    return True
        return False

    def reload(self, log: Log, *access_logs: AccessLog) -> None:
        (self._directory / "kubelb.toml").write_text(write_toml(with_logs(self.config, log, access_logs)))
        assert adminclient.reload(self.proxy.runtime_dir) == ()


def with_logs(config: Config, log: Log, access_logs: tuple[AccessLog, ...]) -> Config:
    listeners = tuple(msgspec.structs.replace(one, access_logs=access_logs) for one in config.listeners)
    return msgspec.structs.replace(config, log=log, listeners=listeners)


@contextmanager
def a_rig(
    directory: Path,
    servers: list[SocketAddress],
    *access_logs: AccessLog,
    log: Log = Log(),  # noqa: B008 (frozen)
    **settings: Any,
) -> Iterator[Rig]:
    """Files are named in ``directory``."""
    placed = tuple(msgspec.structs.replace(one, file=str(directory / one.file)) for one in access_logs)
    with ExitStack() as stack:
        config = with_logs(a_config(stack.enter_context(reserved()), servers, **settings), log, placed)
        proxy = stack.enter_context(running(directory, config=config))
        yield Rig(proxy, directory, config)


def meet(address: SocketAddress) -> str:
    """The client of a session that has ended."""
    client, _ = keep(address)
    name = name_of(client.getsockname())
    leave(client)
    return name


def refused(address: SocketAddress) -> str:
    """The client for whom there is no server."""
    with socket.socket() as client:
        client.settimeout(DEADLINE)
        client.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionResetError):
            _connect_and_read(client, address)
        return name_of(client.getsockname())


def _connect_and_read(client: socket.socket, address: SocketAddress) -> None:
    client.connect(address)
    client.recv(1)


def test_workers_share_a_file(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], AccessLog(file="a", format=PLAIN), workers=2) as rig:
        clients = {meet(rig.address) for _ in range(30)}
        lines = [line.split() for line in rig.wait_for("a", 30)]
        assert {line[0] for line in lines} == clients
        assert {line[2] for line in lines} == {name_of(server)}
        assert {int(line[3]) for line in lines} == {worker.pid for worker in rig.proxy.workers()}


def test_a_json_object_a_line_without_a_format(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], AccessLog(file="a"), workers=1) as rig:
        client = meet(rig.address)
        (line,) = rig.wait_for("a", 1)
        record = json.loads(line)
        assert record.pop("seconds") >= 0
        assert record.pop("timestamp").startswith("20")
        assert record == {
            "pid": rig.proxy.workers()[0].pid,
            "client": client,
            "listener": name_of(rig.address),
            "pool": "pool",
            "server": name_of(server),
            "tried": [name_of(server)],
            "bytes_up": 0,
            "bytes_down": len(name_of(server)) + 1,
            "end": "closed",
        }
        assert not rig.proxy.log.events("session")


def test_who_got_no_server_is_logged_too(tmp_path: Path) -> None:
    with refusing(["127.0.0.1", "127.0.0.2"]) as dead:
        logs = AccessLog(file="plain", format=PLAIN), AccessLog(file="json")
        with a_rig(tmp_path, dead, *logs, log=Log(access=True), workers=1) as rig:
            name = refused(rig.address)
            (line,) = rig.wait_for("plain", 1)
            assert line.split()[:2] == [name, "502"]
            (record,) = map(json.loads, rig.wait_for("json", 1))
            assert (record["client"], record["server"], record["end"]) == (name, None, "no_server")
            assert set(record["tried"]) == set(map(name_of, dead))
            (event,) = rig.proxy.log.wait_for("session")
            assert (event["client"], event["end"]) == (name, "no_server")


def test_who_did_not_wait_is_logged_too(tmp_path: Path) -> None:
    with (
        a_hole() as hole,
        a_rig(tmp_path, [hole.address], AccessLog(file="a"), workers=1, connect_timeout=600) as rig,
    ):
        client = socket.create_connection(rig.address, timeout=DEADLINE)
        eventually(lambda: rig.proxy.servers()[0].active, "it waits for the server")
        reset(client)
        (record,) = map(json.loads, rig.wait_for("a", 1))
        assert (record["end"], record["tried"], record["server"]) == ("client_left", [hole.name], None)


def test_a_buffer_is_written_when_it_is_full_or_old(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    logs = (
        AccessLog(file="at once", format="0123456789"),
        AccessLog(file="full", format="0123456789", buffer=30),
        AccessLog(file="old", format="0123456789", buffer=1 << 20, flush=Duration(0.2)),
        AccessLog(file="end", format="0123456789", buffer=1 << 20),
    )
    with a_rig(tmp_path, [server], *logs, workers=1) as rig:
        for count in range(1, 6):
            meet(rig.address)
            rig.wait_for("at once", count)
        assert len(rig.lines("full")) == 4
        rig.wait_for("old", 5)
        assert rig.lines("end") == []
        assert rig.proxy.end() == 0
        assert [rig.lines(log) for log in ("full", "old", "end")] == [["0123456789"] * 5] * 3


def test_compressed(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], AccessLog(file="a.gz", format=PLAIN, buffer=100, gzip=6), workers=2) as rig:
        clients = {meet(rig.address) for _ in range(20)}
        assert rig.proxy.end() == 0
        with gzip.open(rig.path("a.gz"), "rt") as lines:
            assert {line.split()[0] for line in lines} == clients


def test_a_condition(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    logs = (
        AccessLog(file="all", format=PLAIN),
        AccessLog(file="some", format=PLAIN, condition="$upstream_bytes_sent"),
    )
    with a_rig(tmp_path, [server], *logs, workers=1) as rig:
        meet(rig.address)
        client, _ = keep(rig.address)
        client.sendall(b"x")
        speaker = name_of(client.getsockname())
        leave(client)
        rig.wait_for("all", 2)
        assert [line.split()[0] for line in rig.wait_for("some", 1)] == [speaker]


def test_standard_output_is_a_file_too(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    log = AccessLog(file="/dev/stderr", format='{"event": "one", "client": "$remote_addr"}', escape="json")
    with a_rig(tmp_path, [server], log) as rig:
        meet(rig.address)
        (record,) = rig.proxy.log.wait_for("one")
        assert record["client"] == "127.0.0.1"


def test_files_are_opened_anew(tmp_path: Path, servers: IdentityServers) -> None:
    """As logrotate has it: rename, USR1."""
    (server, *_) = servers.addresses
    log = Log(file=str(tmp_path / "log"), level="debug")
    logs = AccessLog(file="a", format=PLAIN), AccessLog(file="b", format=PLAIN, buffer=1 << 20)
    with a_file_rig(tmp_path, server, log, *logs) as rig:
        before = {meet(rig.address) for _ in range(10)}
        rig.wait_for("a", 10)
        for name in ("a", "b", "log"):
            rig.path(name).rename(rig.path(f"{name}.1"))
        rig.proxy.process.send_signal(signal.SIGUSR1)
        eventually(lambda: len(rig.lines("b.1")) == 10, "the buffers are in the old file")
        eventually(lambda: rig.path("log").exists(), "there is a new one")
        eventually(lambda: not rig.is_open("a.1"), "no worker has the old one open")
        after = {meet(rig.address) for _ in range(10)}
        assert {line.split()[0] for line in rig.wait_for("a", 10)} == after
        assert {line.split()[0] for line in rig.lines("a.1")} == before
        assert rig.proxy.end() == 0
        assert {line.split()[0] for line in rig.lines("b")} == after
        assert rig.events("log.1", "started")
        assert rig.events("log", "stopped")
        assert not rig.events("log.1", "stopped")


@pytest.mark.usefixtures("root")
def test_files_are_opened_anew_where_only_root_may_make_them(servers: IdentityServers) -> None:
    """Workers run as somebody who may not write to the directory, but may enter it."""
    (server, *_) = servers.addresses
    logs, process = AccessLog(file="a", format=PLAIN), Process(user="nobody")
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o711)
        log = Log(file=str(directory / "log"))
        with a_file_rig(directory, server, log, logs, process=process) as rig:
            meet(rig.address)
            eventually(lambda: rig.lines("a"), "the worker has opened it")
            rig.path("a").rename(rig.path("a.1"))
            rig.proxy.process.send_signal(signal.SIGUSR1)
            eventually(lambda: meet(rig.address) and rig.path("a").exists() and rig.lines("a"), "it is written")
            assert rig.proxy.end() == 0
            assert not rig.events("log", "log_not_reopened")
            assert not rig.events("log", "access_log_lost")


def test_a_file_that_cannot_be_opened_anew_is_written_on(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], AccessLog(file="a", format=PLAIN), workers=1) as rig:
        meet(rig.address)
        rig.wait_for("a", 1)
        rig.path("a").rename(rig.path("a.1"))
        rig.path("a").mkdir()
        rig.proxy.process.send_signal(signal.SIGUSR1)
        (record,) = rig.proxy.log.wait_for("log_not_reopened", process="worker-0")
        assert (record["file"], record["reason"]) == (str(rig.path("a")), "is a directory")
        client = meet(rig.address)
        _, line = rig.wait_for("a.1", 2)
        assert line.split()[0] == client
        rig.path("a").rmdir()
        rig.proxy.process.send_signal(signal.SIGUSR1)
        eventually(lambda: rig.path("a").exists(), "there is a new one")
        client = meet(rig.address)
        eventually(lambda: client in rig.path("a").read_text(), "it is written to")


@contextmanager
def a_file_rig(
    directory: Path, server: SocketAddress, log: Log, *access_logs: AccessLog, **settings: Any
) -> Iterator[Rig]:
    """The log is in a file: standard error stays empty, so it is the file that tells when the proxy has started."""
    placed = tuple(msgspec.structs.replace(one, file=str(directory / one.file)) for one in access_logs)
    with reserved() as listen:
        config = with_logs(a_config(listen, [server], **settings), log, placed)
        (directory / "kubelb.toml").write_text(write_toml(config))
        command = [str(KUBELB), "run", "--runtime-dir", str(directory / "run")]
        process = subprocess.Popen(
            [*command, "--config", str(directory / "kubelb.toml")], stderr=subprocess.PIPE, text=True
        )
        rig = Rig(Proxy(process, directory / "run"), directory, config)
        try:
            eventually(lambda: rig.path("log").exists() and rig.events("log", "started"), "it has started")
            rig.proxy.children()
            yield rig
            if process.poll() is None:
                assert rig.proxy.end() == 0
            assert rig.proxy.log.text == ""
        finally:
            rig.proxy.clean_up()


def test_a_reload_changes_the_level(tmp_path: Path) -> None:
    """Of every process: workers' events, control's, and the supervisor's."""
    log = Log(file=str(tmp_path / "log"))
    with refusing(["127.0.0.1"]) as (dead,), a_file_rig(tmp_path, dead, log) as rig:
        refused(rig.address)
        rig.reload(msgspec.structs.replace(log, level="debug"))
        eventually(lambda: refused(rig.address) and rig.events("log", "no_server"), "workers say more")
        assert len(rig.events("log", "reloaded")) == 1
        rig.reload(msgspec.structs.replace(log, level="error"))
        rig.reload(msgspec.structs.replace(log, level="error"))
        assert len(rig.events("log", "reloaded")) == 1
        assert rig.proxy.end() == 0
        assert not rig.events("log", "stopped")


def test_a_reload_changes_access_logs(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], workers=2) as rig:
        meet(rig.address)
        rig.reload(Log(), AccessLog(file=str(rig.path("a")), format=PLAIN))
        eventually(lambda: meet(rig.address) and len(rig.lines("a")) > 5, "it is logged")
        rig.reload(Log(), AccessLog(file=str(rig.path("b")), format=PLAIN))
        eventually(lambda: meet(rig.address) and len(rig.lines("b")) > 5, "it is logged elsewhere")
        rig.reload(Log(access=True))
        eventually(lambda: meet(rig.address) and rig.proxy.log.events("session"), "it is an event")


def test_a_session_from_before_is_logged(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], workers=1) as rig:
        client, _ = keep(rig.address)
        rig.reload(Log(access=True))
        eventually(lambda: meet(rig.address) and rig.proxy.log.events("session"), "the worker has heard of it")
        name = name_of(client.getsockname())
        leave(client)
        (record,) = rig.proxy.log.wait_for("session", client=name)
        assert record["tried"] == [name_of(server)]


def test_a_worker_that_comes_later_has_the_level_of_the_reload(tmp_path: Path) -> None:
    with refusing(["127.0.0.1"]) as (dead,), a_rig(tmp_path, [dead], workers=1) as rig:
        rig.reload(Log(level="debug"))
        eventually(lambda: len(rig.proxy.workers()) == 1, "the reader has ended")
        (worker,) = rig.proxy.workers()
        worker.kill()
        eventually(lambda: refused(rig.address) and rig.proxy.log.events("no_server"), "another one says more")


@pytest.mark.parametrize("key", ["log", "listener"])
def test_a_file_that_cannot_be_opened_is_a_fault(key: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing" / "file")
    log = Log(file=missing) if key == "log" else Log()
    logs = (AccessLog(file=missing),) if key == "listener" else ()
    file = tmp_path / "kubelb.toml"
    file.write_text(write_toml(with_logs(a_config(("127.0.0.1", 1), [("127.0.0.1", 2)]), log, logs)))
    place = "log.file" if key == "log" else "listener[0].access_log[0].file"
    (line,) = (number for number, text in enumerate(file.read_text().splitlines(), 1) if missing in text)
    for command in (["check"], ["run", "--runtime-dir", str(tmp_path / "run")]):
        run = subprocess.run(
            [str(KUBELB), *command, "--config", str(file)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        fault = f'{file}:{line}: {place}: "{missing}" cannot be opened: no such file or directory\n'
        assert (run.returncode, run.stderr) == (1, fault)


def test_a_reload_with_a_file_that_cannot_be_opened(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    with a_rig(tmp_path, [server], AccessLog(file="a", format=PLAIN)) as rig:
        with pytest.raises(adminclient.AdminFault, match="cannot be opened: is a directory"):
            rig.reload(Log(), AccessLog(file=str(tmp_path)))
        meet(rig.address)
        rig.wait_for("a", 1)


def test_what_cannot_be_written_is_lost_and_said_once(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    logs = AccessLog(file="/dev/full", format=PLAIN), AccessLog(file="a", format=PLAIN)
    with a_rig(tmp_path, [server], *logs, workers=1) as rig:
        for count in range(1, 4):
            meet(rig.address)
            rig.wait_for("a", count)
        (record,) = rig.proxy.log.events("access_log_lost")
        assert (record["reason"], record["lines"]) == ("no space left on device", 1)


def test_a_fifo_that_nobody_reads_is_a_fault(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    config = with_logs(a_config(("127.0.0.1", 1), [("127.0.0.1", 2)]), Log(), (AccessLog(file=str(fifo)),))
    (fault,) = log_file_faults(config, {})
    assert fault.what == f'"{fifo}" cannot be opened: no such device or address'


def test_a_slow_reader_loses_lines_and_holds_up_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    settings = AccessLog(file=str(fifo), format="${remote_port}" + "x" * 1000)
    listener = Listener(address="x", pool="p", connect_timeout=1, access_logs=(settings,))
    with capture_logs() as events:
        log = worker.AccessLog()
        log.see(Snapshot(version=1, listeners=(listener,), pools=()), Worker("", 0))
        for number in range(1, 11_001):
            log.unserved(listener, Opening(Client(1, ("::1", number), ("::1", 1)), 0.0, ()), "no_server", 502)
        log.see(Snapshot(version=2, listeners=(listener,), pools=()), Worker("", 0))
        os.set_blocking(reader, True)
        closing = threading.Thread(target=log.close)
        closing.start()
        with os.fdopen(reader, "rb") as stream:
            written = [int(line.split(b"x")[0]) for line in stream]
        closing.join()
    lost = sum(event["lines"] for event in events if event["event"] == "access_log_lost")
    assert lost > 0
    assert written == sorted(written)
    assert len(written) + lost == 11_000


def test_a_session_that_was_handed_over_is_logged_as_one(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    names = "$remote_addr:$remote_port $connection $bytes_received $upstream_addr $upstream_connect_time"
    with refusing(["127.0.0.1"]) as (dead,):
        log = AccessLog(file="a", format=f"{names} $upstream_first_byte_time")
        with a_rig(tmp_path, [dead, server], log, balance="round_robin", workers=1) as rig:
            client, _ = keep(rig.address)
            before = rig.proxy.workers()
            rig.proxy.upgrade()
            assert rig.proxy.workers() != before
            client.sendall(b"hello")
            assert client.recv(5)
            name = name_of(client.getsockname())
            leave(client)
            (line,) = rig.wait_for("a", 1)
            remote, number, received, *rest = line.split()
            assert (remote, received) == (name, "5")
            assert int(number) > 0
            assert re.sub("[0-9.]{5}", "t", " ".join(rest[2:])) == "-, t -, t"
            assert rest[:2] == [f"{name_of(dead)},", name_of(server)]


@pytest.mark.usefixtures("root")
def test_files_are_given_to_whom_the_workers_run_as(tmp_path: Path, servers: IdentityServers) -> None:
    (server, *_) = servers.addresses
    open_to_all(tmp_path)
    with a_rig(tmp_path, [server], AccessLog(file="a", format=PLAIN), process=Process(user="nobody")) as rig:
        client = meet(rig.address)
        (line,) = rig.wait_for("a", 1)
        assert line.startswith(client)
        assert rig.path("a").owner() == "nobody"


def test_what_the_server_never_got_was_not_sent(tmp_path: Path) -> None:
    log = AccessLog(file="a", format="$bytes_received $upstream_bytes_sent")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        a_rig(tmp_path, [server.getsockname()], log, workers=1) as rig,
        socket.create_connection(rig.address, timeout=DEADLINE) as client,
    ):
        session, _ = server.accept()
        with session:
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.sendall(bytes(1 << 26))
            reset(client)
            (line,) = rig.wait_for("a", 1)
            received, sent = map(int, line.split())
            assert received > sent > 0


def test_a_reader_who_has_fallen_asleep_does_not_keep_a_proxy_from_ending(
    tmp_path: Path, servers: IdentityServers
) -> None:
    (server, *_) = servers.addresses
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    log = AccessLog(file=str(fifo), format="x" * 5000)
    with a_rig(tmp_path, [server], log, workers=1) as rig:
        for _ in range(3):
            meet(rig.address)
        assert rig.proxy.end() == 0
    os.close(reader)
