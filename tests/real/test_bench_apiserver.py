"""The bench's stand-in for a kube-apiserver does what it is told: the harm is real."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bench.failover.manner import WELL, Door, Manner
from bench.failover.terms import TRANSFER_PATH
from kubelb.standin.certificates import Certificates, make

PATIENCE = 30.0
SILENCE = 0.3
"""So long nothing may come that could come at once."""


class Server:
    """A running one, and what it is told."""

    def __init__(self, process: subprocess.Popen[str], authority: Path) -> None:
        self._process = process
        self._context = ssl.create_default_context(cafile=str(authority))
        self._port = 0
        self.tell(WELL)

    def tell(self, manner: Manner) -> None:
        """In force on return."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(manner).decode() + "\n")
        self._process.stdin.flush()
        self._port = int(self._process.stdout.readline().split()[1])

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        """TCP alone."""
        return socket.create_connection(("127.0.0.1", self._port), timeout)

    @contextmanager
    def session(self, connection: socket.socket | None = None) -> Iterator[ssl.SSLSocket]:
        with self._context.wrap_socket(connection or self.connect(), server_hostname="127.0.0.1") as session:
            session.settimeout(PATIENCE)
            yield session


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: Certificates) -> Iterator[Server]:
    command = [sys.executable, "-m", "bench.failover.apiserver", "a", "127.0.0.1", "0", str(certificates.server)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process, certificates.authority)
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def ask(session: ssl.SSLSocket, path: str) -> None:
    session.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def head(session: ssl.SSLSocket) -> tuple[int, dict[str, str]]:
    """Its status and its fields."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        byte = session.recv(1)
        assert byte, "the connection has ended"
        received += byte
    first, *lines = received.decode().splitlines()
    return int(first.split()[1]), dict(line.split(": ") for line in lines[:-1])


def asked(session: ssl.SSLSocket, path: str = "/api") -> tuple[int, dict[str, str]]:
    ask(session, path)
    return head(session)


def test_it_answers_with_its_name_and_the_connection_lasts(server: Server) -> None:
    with server.session() as session:
        for path in ("/api", "/readyz"):
            status, fields = asked(session, path)
            assert (status, fields["Server"], fields["Connection"]) == (200, "a", "keep-alive")


def test_new_connections_are_queued_and_old_ones_served(server: Server) -> None:
    with server.session() as old:
        server.tell(Manner(door=Door.QUEUED))
        connection = server.connect()
        assert asked(old)[0] == 200
        server.tell(WELL)
        with server.session(connection) as late:
            assert asked(late)[0] == 200


def test_new_connections_are_dropped_and_old_ones_served(server: Server) -> None:
    with server.session() as old:
        server.tell(Manner(door=Door.FULL))
        with pytest.raises(TimeoutError):
            server.connect(SILENCE).close()
        assert asked(old)[0] == 200
        server.tell(WELL)
        with server.session() as late:
            assert asked(late)[0] == 200


def test_new_connections_are_refused_and_old_ones_served_once_more(server: Server) -> None:
    with server.session() as old:
        server.tell(Manner(door=Door.CLOSED, lasts=False))
        with pytest.raises(ConnectionRefusedError):
            server.connect().close()
        status, fields = asked(old)
        assert (status, fields["Connection"]) == (200, "close")
        assert old.recv(1) == b""


def test_one_that_hangs_shakes_hands_and_answers_later(server: Server) -> None:
    with server.session() as old:
        server.tell(Manner(answers=False))
        with server.session() as new:
            for session in (old, new):
                ask(session, "/api")
                session.settimeout(SILENCE)
                with pytest.raises(TimeoutError):
                    session.recv(1)
                session.settimeout(PATIENCE)
            server.tell(WELL)
            assert [head(session)[0] for session in (old, new)] == [200, 200]


def test_readiness_has_a_status_of_its_own(server: Server) -> None:
    with server.session() as session:
        server.tell(Manner(ready=500))
        assert [asked(session, path)[0] for path in ("/readyz", "/api")] == [500, 200]
        server.tell(Manner(ready=403, status=403))
        assert [asked(session, path)[0] for path in ("/readyz", "/api")] == [403, 403]


def test_a_transfer_goes_on_when_nobody_listens(server: Server) -> None:
    with server.session() as session:
        _status, fields = asked(session, TRANSFER_PATH)
        first = len(session.recv(65536))
        server.tell(Manner(door=Door.CLOSED, lasts=False))
        assert first < int(fields["Content-Length"])
        assert session.recv(65536)
