"""What the proxy writes to standard error, and that nobody has to take it."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of, refusing, reset
from tests.support.log import DEADLINE, Record
from tests.support.proxy import KUBELB, Proxy, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def logging_proxy(directory: Path, server: SocketAddress, *flags: str) -> Iterator[Proxy]:
    with reserved() as listen:
        addresses = ("--listen", name_of(listen), "--server", name_of(server))
        with running(directory, *addresses, "--health", "off", *flags) as proxy:
            yield proxy


def test_json_lines_elsewhere_than_on_a_terminal(tmp_path: Path, servers: IdentityServers) -> None:
    with logging_proxy(tmp_path, servers.addresses[0], "--workers", "2") as proxy:
        (started,) = proxy.log.events("started")
        assert started.pop("timestamp")
        assert started == {
            "event": "started",
            "process": "supervisor",
            "level": "info",
            "listeners": [name_of(proxy.address)],
            "workers": 2,
            "pid": proxy.pid,
        }


def test_readable_on_a_terminal(tmp_path: Path, servers: IdentityServers) -> None:
    with reserved() as listen:
        flags = ["--listen", name_of(listen), "--server", name_of(servers.addresses[0]), "--health", "off"]
        shown = on_a_terminal([str(KUBELB), "run", "--runtime-dir", str(tmp_path / "run"), *flags])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert [re.findall(r"info +\] (\w+)", line) for line in lines] == [["started"], ["stopping"], ["stopped"]]
    assert f"listeners=['{name_of(listen)}']" in lines[0]
    assert "{" not in shown


def on_a_terminal(command: list[str]) -> str:
    """What it shows until it is ended once it has started."""
    terminal, theirs = os.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        # A terminal that nobody has open any more is an error to read (EIO).
        with suppress(OSError):
            while piece := os.read(terminal, 4096):
                if b"started" not in shown and b"started" in shown + piece:
                    process.send_signal(signal.SIGINT)
                shown += piece
    os.close(terminal)
    assert process.returncode == 0
    return shown.decode()


def sessions(proxy: Proxy) -> list[Record]:
    return proxy.log.events("session")


def test_sessions_are_not_logged_unless_wanted(tmp_path: Path, servers: IdentityServers) -> None:
    with logging_proxy(tmp_path, servers.addresses[0]) as proxy:
        assert ask(proxy.address)
        proxy.end()
        assert sessions(proxy) == []


def test_the_access_log(tmp_path: Path, servers: IdentityServers) -> None:
    server = name_of(servers.addresses[0])
    with logging_proxy(tmp_path, servers.addresses[0], "--access-log", "--workers", "2") as proxy:
        peers = set()
        for number in range(10):
            client, _ = keep(proxy.address)
            peers.add(name_of(client.getsockname()))
            assert echoes(client, b"x" * number * 1000 + b".")
            leave(client)
        records = proxy.log.wait_for("session", 10)
        assert {record["client"] for record in records} == peers
        assert sorted((record["bytes_up"], record["bytes_down"]) for record in records) == [
            (number * 1000 + 1, number * 1000 + 1 + len(server) + 1) for number in range(10)
        ]
        for record in records:
            assert record["end"] == "closed"
            assert record["seconds"] >= 0
            assert (record["listener"], record["server"]) == (name_of(proxy.address), server)
            assert record["pool"] == "kube-apiserver"
        assert proxy.end() == 0
        assert len(sessions(proxy)) == 10


def test_the_last_sessions_of_a_graceful_stop_are_logged(tmp_path: Path, servers: IdentityServers) -> None:
    with logging_proxy(tmp_path, servers.addresses[0], "--access-log", "--workers", "1") as proxy:
        clients = [keep(proxy.address)[0] for _ in range(50)]
        proxy.process.send_signal(signal.SIGQUIT)
        proxy.log.wait_for("stopping")
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            leave(client)
        assert proxy.wait() == 0
        assert len(sessions(proxy)) == 50


def test_a_reset_client_in_the_access_log(tmp_path: Path, servers: IdentityServers) -> None:
    with logging_proxy(tmp_path, servers.addresses[0], "--access-log") as proxy:
        client, _ = keep(proxy.address)
        assert echoes(client, b"hello")
        reset(client)
        (record,) = proxy.log.wait_for("session")
        assert (record["end"], record["bytes_up"]) == ("client_reset", 5)


def test_a_reset_server_in_the_access_log(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        logging_proxy(tmp_path, listener.getsockname(), "--access-log") as proxy,
        socket.create_connection(proxy.address, timeout=DEADLINE) as client,
    ):
        server, _ = listener.accept()
        client.sendall(b"hello")
        assert server.recv(5) == b"hello"
        reset(server)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        (record,) = proxy.log.wait_for("session")
        assert (record["end"], record["bytes_up"], record["bytes_down"]) == ("server_reset", 5, 0)


def test_an_idle_session_in_the_access_log(tmp_path: Path, servers: IdentityServers) -> None:
    with logging_proxy(tmp_path, servers.addresses[0], "--access-log", "--idle-timeout", "300ms") as proxy:
        client, _ = keep(proxy.address)
        with client:
            assert client.recv(1) == b""
        (record,) = proxy.log.wait_for("session")
        assert record["end"] == "idle"
        assert record["seconds"] >= 0.3


def test_levels(tmp_path: Path) -> None:
    with refusing(["127.0.0.1"]) as (server,):
        with logging_proxy(tmp_path, server, "--log-level", "debug") as proxy:
            with pytest.raises(ConnectionResetError):
                keep_or_raise(proxy.address)
            (record,) = proxy.log.wait_for("no_server")
            assert (record["level"], record["client"], record["tried"]) == ("debug", "127.0.0.1", 1)
            assert len(proxy.log.events("server_failing", level="warning")) == 1
        with logging_proxy(tmp_path, server) as proxy:
            with pytest.raises(ConnectionResetError):
                keep_or_raise(proxy.address)
            proxy.log.wait_for("server_failing")
            assert proxy.end() == 0
            assert not proxy.log.events("no_server")


def keep_or_raise(address: SocketAddress) -> None:
    with socket.create_connection(address, timeout=DEADLINE) as client:
        client.recv(1)


def test_nobody_needs_to_read_it(tmp_path: Path, servers: IdentityServers) -> None:
    """Whoever read the log has died; what is to be said then is lost, and nothing else."""
    with reserved() as listen, refusing(["127.0.0.1"]) as (refuser,):
        addresses = [
            "--listen",
            name_of(listen),
            "--server",
            name_of(refuser),
            "--server",
            name_of(servers.addresses[0]),
        ]
        flags = ["--runtime-dir", str(tmp_path / "run"), "--health", "off", "--access-log"]
        command = [str(KUBELB), "run", *addresses, *flags]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert b"started" in process.stderr.readline()
            process.stderr.close()
            held, _ = keep(listen)
            with held:
                workers = psutil.Process(process.pid).children()
                assert {ask(listen) for _ in range(10)} == {name_of(servers.addresses[0])}
                assert psutil.Process(process.pid).children() == workers
                workers[-1].kill()
                eventually(lambda: workers[-1] not in psutil.Process(process.pid).children(), "it is buried")
                eventually(lambda: len(psutil.Process(process.pid).children()) == len(workers), "it is replaced")
                assert {ask(listen) for _ in range(10)} == {name_of(servers.addresses[0])}
            process.terminate()
            assert process.wait(DEADLINE) == 0


def test_nobody_waits_for_a_reader_that_stalls(tmp_path: Path, servers: IdentityServers) -> None:
    ours, theirs = os.pipe()
    with reserved() as listen, refusing(["127.0.0.1"]) as (refuser,):
        flags = [
            "--runtime-dir",
            str(tmp_path / "run"),
            "--health",
            "off",
            "--workers",
            "1",
            "--listen",
            name_of(listen),
        ]
        for server in (refuser, servers.addresses[0]):
            flags += ["--server", name_of(server)]
        with subprocess.Popen([str(KUBELB), "run", *flags], stderr=theirs) as process:
            assert b"started" in os.read(ours, 4096)
            fill(theirs)
            os.close(theirs)
            # Each of these has something to say: the dial's failure, a reload, a child's death and its successor.
            assert {ask(listen) for _ in range(10)} == {name_of(servers.addresses[0])}
            children = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGHUP)
            bury(psutil.Process(process.pid), children)
            assert {ask(listen) for _ in range(10)} == {name_of(servers.addresses[0])}
            with drained(ours) as read:
                eventually(lambda: b"".join(read).count(b'"child_died"') == 2, "nothing is lost")
                process.terminate()
                assert process.wait(DEADLINE) == 0
            assert b"log_lost" not in b"".join(read)
    os.close(ours)


def bury(process: psutil.Process, children: list[psutil.Process]) -> None:
    """Kill these children of its, and wait for others to take their places."""
    for child in children:
        child.kill()
    eventually(lambda: not set(children) & set(process.children()), "they are buried")
    eventually(lambda: len(process.children()) == len(children), "they are replaced")


def fill(pipe: int) -> None:
    """To the last byte, with ends of lines."""
    os.set_blocking(pipe, False)
    for size in (select.PIPE_BUF, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b"\n" * size)
    os.set_blocking(pipe, True)


@contextmanager
def drained(pipe: int) -> Iterator[list[bytes]]:
    """Within, what comes is read, until all who write there have ended."""
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(pipe, 65536), b"")))
    thread.start()
    yield read
    thread.join(DEADLINE)
    assert not thread.is_alive()
