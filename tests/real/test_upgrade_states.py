"""What an upgrade finds: sessions in every state, addresses of every kind, requests under way."""

from __future__ import annotations

import errno
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Admin, Config
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.snapshot import SocketAddress
from tests.real.relay.confined import refuse_splice
from tests.support.eventually import eventually
from tests.support.identity import ask
from tests.support.identity import reset as break_off
from tests.support.proxy import EchoServers, Proxy, a_config, gone, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

BLOB = bytes(range(256)) * 128
AN_HOUR = 3600


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as echo_servers:
        yield echo_servers.addresses


class Pair:
    """Both ends of a session."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server


def fill(sock: socket.socket) -> int:
    """Bytes sent until nothing more is taken for a while."""
    sent = 0
    sock.settimeout(0.1)
    with suppress(TimeoutError):
        while True:
            sent += sock.send(BLOB[sent % len(BLOB) :])
    sock.settimeout(60)
    return sent


def drain(sock: socket.socket, size: int) -> bool:
    """Whether so many bytes come, and the right ones."""
    got = 0
    while got < size:
        piece = sock.recv(min(65536, size - got))
        start = got % len(BLOB)
        if not piece or (BLOB * 4)[start : start + len(piece)] != piece:
            return False
        got += len(piece)
    return True


@contextmanager
def pairs(
    directory: Path, count: int, host: str = "127.0.0.1", **settings: object
) -> Iterator[tuple[Proxy, list[Pair]]]:
    """A proxy, and so many sessions through it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0), family=family))
        listen = stack.enter_context(reserved(host))
        idle = settings.pop("idle_timeout", None)
        config = a_config(listen, [listener.getsockname()[:2]], **settings)  # type: ignore[arg-type]
        if idle is not None:
            one = msgspec.structs.replace(config.listeners[0], idle_timeout=Duration(float(idle)))  # type: ignore[arg-type]
            config = msgspec.structs.replace(config, listeners=(one,))
        prepare = refuse_splice if directory.name == "copies" else None
        proxy = stack.enter_context(running(directory, config=config, prepare=prepare))
        found = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(listen, timeout=60))
            server = stack.enter_context(listener.accept()[0])
            server.settimeout(60)
            found.append(Pair(client, server))
        yield proxy, found


@pytest.mark.parametrize("threads", ["auto", "per-connection", 2])
@pytest.mark.parametrize("path", ["splice", "copies"])
def test_sessions_in_every_state(tmp_path: Path, threads: object, path: str) -> None:
    directory = tmp_path / path
    directory.mkdir()
    with pairs(directory, 6, threads=threads) as (proxy, (up, down, both, half, ended, quiet)):
        sent_up, sent_down = fill(up.client), fill(down.server)
        both_up, both_down = fill(both.client), fill(both.server)
        half.client.sendall(b"the last word")
        half.client.shutdown(socket.SHUT_WR)
        assert half.server.recv(100, socket.MSG_WAITALL) == b"the last word"
        ended_up, ended_down = fill(ended.client), fill(ended.server)
        ended.client.shutdown(socket.SHUT_WR)
        ended.server.shutdown(socket.SHUT_WR)
        for _ in range(2):
            proxy.upgrade()
        assert drain(up.server, sent_up)
        assert drain(down.client, sent_down)
        assert drain(both.server, both_up)
        assert drain(both.client, both_down)
        half.server.sendall(BLOB)
        half.server.shutdown(socket.SHUT_WR)
        assert drain(half.client, len(BLOB))
        assert half.client.recv(1) == b""
        assert drain(ended.server, ended_up)
        assert ended.server.recv(1) == b""
        assert drain(ended.client, ended_down)
        assert ended.client.recv(1) == b""
        quiet.client.send(b"!", socket.MSG_OOB)
        quiet.client.sendall(b"after")
        assert quiet.server.recv(5, socket.MSG_WAITALL) == b"after"
        eventually(lambda: proxy.status().clients.active == 4, "those that have ended are not counted")
        break_off(up.client)
        with pytest.raises(ConnectionResetError):
            up.server.recv(1)
        for pair in (down, both, quiet):
            pair.client.close()
            pair.server.close()
        eventually(lambda: proxy.status().clients.active == 0, "nobody is counted any more")
        assert [server.active for server in proxy.servers()] == [0]


def test_ipv6_sessions(tmp_path: Path) -> None:
    with pairs(tmp_path, 1, host="::1") as (proxy, (pair,)):
        sent = fill(pair.client)
        proxy.upgrade()
        assert drain(pair.server, sent)


def test_silence_counts_from_before(tmp_path: Path) -> None:
    with pairs(tmp_path, 2, idle_timeout=2) as (proxy, (silent, other)):
        proxy.upgrade()
        assert silent.client.recv(1) == b""
        assert other.client.recv(1) == b""
        (server,) = proxy.servers()
        assert server.active == 0


def test_silence_of_an_hour_is_not_cut_short(tmp_path: Path) -> None:
    with pairs(tmp_path, 1, idle_timeout=AN_HOUR) as (proxy, (pair,)):
        for _ in range(2):
            proxy.upgrade()
        pair.client.sendall(b"x")
        assert pair.server.recv(1) == b"x"


# Addresses.


def test_more_listeners_than_fit_into_a_message(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        addresses = [stack.enter_context(reserved()) for _ in range(300)]
        config = a_config(addresses[0], servers)
        one = msgspec.structs.replace(config.listeners[0], listen=tuple(Address(*each) for each in addresses))
        config = msgspec.structs.replace(config, listeners=(one,))
        proxy = stack.enter_context(running(tmp_path, config=config))
        for _ in range(2):
            proxy.upgrade()
            assert all(map(ask, addresses))
        config = msgspec.structs.replace(config, listeners=(msgspec.structs.replace(one, listen=one.listen[:1]),))
        (tmp_path / "kubelb.toml").write_text(write_toml(config))
        proxy.upgrade()
        with socket.socket() as client:
            assert client.connect_ex(addresses[-1]) == errno.ECONNREFUSED


def with_kinds(config: Config, endpoint: SocketAddress, admin: SocketAddress) -> Config:
    location = Location(path="/healthz", status=200, body="well")
    http = (HttpServer(listen=(Address(*endpoint),), locations=(location,)),)
    return msgspec.structs.replace(config, http=http, admin=Admin(listen=Address(*admin)))


def get(address: SocketAddress, path: str) -> str:
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_addresses_change_their_kind(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        addresses = [stack.enter_context(reserved()) for _ in range(3)]
        file = tmp_path / "kubelb.toml"
        first = with_kinds(a_config(addresses[0], servers), addresses[1], addresses[2])
        proxy = stack.enter_context(running(tmp_path, config=first))
        for _ in range(3):
            listener, endpoint, admin = addresses
            assert ask(listener)
            assert get(endpoint, "/healthz") == "well"
            assert "kubelb" in get(admin, "/metrics")
            addresses = [endpoint, admin, listener]
            file.write_text(write_toml(with_kinds(a_config(endpoint, servers), admin, listener)))
            proxy.upgrade()


# Requests.


def hammered(ask: Callable[[], object], stop: threading.Event, failures: list[BaseException]) -> int:
    count = 0
    while not stop.is_set():
        try:
            ask()
        except Exception as error:
            failures.append(error)
        count += 1
    return count


def test_every_request_is_answered(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        listen, endpoint, admin = (stack.enter_context(reserved()) for _ in range(3))
        config = with_kinds(a_config(listen, servers), endpoint, admin)
        proxy = stack.enter_context(running(tmp_path, config=config))
        stop, failures = threading.Event(), []  # type: ignore[var-annotated]
        asks: list[Callable[[], object]] = [
            lambda: get(endpoint, "/healthz"),
            lambda: get(admin, "/metrics"),
            lambda: adminclient.status(proxy.runtime_dir, 30),
            lambda: adminclient.sessions(proxy.runtime_dir),
            lambda: ask(listen),
        ]
        threads = [threading.Thread(target=hammered, args=(one, stop, failures)) for one in asks]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                proxy.upgrade()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []


def test_one_who_has_connected_and_not_asked_yet_is_answered(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        listen, endpoint, admin = (stack.enter_context(reserved()) for _ in range(3))
        config = with_kinds(a_config(listen, servers), endpoint, admin)
        proxy = stack.enter_context(running(tmp_path, config=config))
        slow = [stack.enter_context(socket.create_connection(endpoint, timeout=30)) for _ in range(3)]
        assert get(endpoint, "/healthz") == "well", "those before it have been accepted"
        control = proxy.control()
        proxy.upgrade()
        for _ in range(20):
            assert get(endpoint, "/healthz") == "well"
        assert not gone(control)
        for client in slow:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b"well")
        eventually(lambda: gone(control), "it has answered all")
