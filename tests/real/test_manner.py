"""What of a listener's settings its sessions keep: through an upgrade, and on their sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kubelb.config.values import Duration
from kubelb.config.variables import Worker
from kubelb.relay.rate import step_size
from kubelb.snapshot import Listener
from kubelb.worker.manner import Manner, manner_of
from kubelb.worker.sockets import connection
from tests.support.eventually import eventually
from tests.support.proxy import Proxy, a_config, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

PLACE = Worker("", 0)
RATE = 50_000
WORDS = bytes(range(256)) * 600


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(30)
        yield sock


@pytest.fixture
def proxy(tmp_path: Path, listening: socket.socket) -> Iterator[Proxy]:
    """It does not half close sessions, and keeps down what clients are sent."""
    with reserved() as address:
        config = a_config(address, [listening.getsockname()])
        (listener,) = config.listeners
        listener = msgspec.structs.replace(
            listener, half_close=False, download_rate=str(RATE), idle_timeout=Duration(60)
        )
        with running(tmp_path, config=msgspec.structs.replace(config, listeners=(listener,))) as proxy:
            yield proxy


def read(sock: socket.socket, count: int) -> bytes:
    heard = b""
    while len(heard) < count and (piece := sock.recv(count - len(heard))):
        heard += piece
    return heard


def test_an_upgrade_changes_nothing(proxy: Proxy, listening: socket.socket) -> None:
    begun = time.monotonic()
    with socket.create_connection(proxy.address, timeout=30) as client:
        server, _ = listening.accept()
        with server:
            server.settimeout(30)
            server.sendall(WORDS)
            heard = read(client, 30_000)
            proxy.upgrade()
            heard += read(client, len(WORDS) - len(heard))
            assert time.monotonic() - begun >= (len(WORDS) - step_size(RATE)) / RATE - 1 / 16
            assert heard == WORDS
            client.sendall(b"bye")
            client.shutdown(socket.SHUT_WR)
            assert read(server, 10) == b"bye"
            assert read(client, 1) == b""
    eventually(lambda: proxy.servers()[0].active == 0, "the session is over")


def nodelay(sock: object) -> int:
    assert isinstance(sock, socket.SocketType)
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_small_pieces_are_held_back_where_wanted() -> None:
    sock = connection(("127.0.0.1", 1))
    assert nodelay(sock) == 1
    manner = Manner(Listener(address="x", pool="pool", connect_timeout=1.0, nodelay=False), PLACE)
    manner.receive(sock)
    assert nodelay(sock) == 0
    sock.close()
    with socket.socket(socket.AF_UNIX) as unix:
        manner.receive(unix)


def test_nothing_is_made_of_plain_settings() -> None:
    plain = Listener(address="x", pool="pool", connect_timeout=1.0)
    assert manner_of(plain, PLACE) is None
    for changed in ({"nodelay": False}, {"upload_rate": "1"}, {"download_rate": "$server_port"}, {"bind": "::1"}):
        assert manner_of(msgspec.structs.replace(plain, **changed), PLACE) is not None
