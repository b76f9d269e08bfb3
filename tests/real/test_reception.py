"""What clients go through before they get a server: PROXY headers in and out, access rules, fixed answers."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.cli import adminclient
from kubelb.config.access import parse_access, parse_network
from kubelb.config.model.config import Config
from kubelb.config.toml.writer import write_toml
from kubelb.proxyproto import HeaderFault, decode
from kubelb.snapshot import SocketAddress
from kubelb.stats import Count
from kubelb.worker import answer
from tests.support.eventually import eventually
from tests.support.identity import leave, name_of, refusing, reset
from tests.support.lanes import DEADLINE, LONG, RunningLane, a_lane, a_snapshot, with_listener
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, reserved, running
from tests.support.proxy_headers import INVALID, VALID, any_start

pytestmark = pytest.mark.usefixtures("no_leaks")

HEADER = b"PROXY TCP4 10.1.2.3 10.4.5.6 7000 8000\r\n"
HEADERS = {
    "v1": HEADER,
    "unknown": b"PROXY UNKNOWN whatever there is\r\n",
    "v2": VALID[-1].read_bytes(),
}


@pytest.fixture(scope="module")
def echo() -> Iterator[SocketAddress]:
    with EchoServers() as servers:
        yield servers.addresses[0]


def with_header(server: SocketAddress, **settings: Any) -> AbstractContextManager[RunningLane]:
    """A lane whose clients begin with one."""
    settings = {"accept_proxy_protocol": True, "proxy_protocol_timeout": LONG, **settings}
    return a_lane(with_listener(a_snapshot([server]), **settings))


def name(client: socket.socket) -> str:
    """What an identity server says first; empty: there is none."""
    heard = b""
    with suppress(ConnectionResetError):
        while not heard.endswith(b"\n") and (piece := client.recv(1)):
            heard += piece
    return heard.decode().strip()


def closed(client: socket.socket) -> bool:
    """With an orderly end, or with the reset that what it had said brings about."""
    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""
    return True


def let_in(listen: SocketAddress) -> bool:
    """Whether somebody with a header gets a server."""
    with socket.create_connection(listen, DEADLINE) as client, suppress(ConnectionError):
        client.sendall(HEADER)
        return client.recv(1) != b""
    return False


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_in_any_two_pieces(kind: str, echo: SocketAddress) -> None:
    header = HEADERS[kind]
    with with_header(echo) as lane:
        for cut in range(len(header) + 1):
            with lane.connect() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(header[:cut])
                # The lane has seen the first piece: whatever was there before is done by then.
                lane.run(lambda: None)
                client.sendall(header[cut:])
                assert name(client) == name_of(echo)
                assert echoes(client)
        assert not lane.total(Count.NO_HEADER)


def test_a_header_byte_by_byte_and_what_follows_it(echo: SocketAddress) -> None:
    with with_header(echo) as lane, lane.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(HEADER)):
            client.sendall(HEADER[place : place + 1])
            lane.run(lambda: None)
        client.sendall(b"one")
        assert name(client) == name_of(echo)
        assert read(client, 3) == b"one"


def test_a_header_and_more_at_once(echo: SocketAddress) -> None:
    with with_header(echo) as lane, lane.connect() as client:
        client.sendall(HEADER + b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert read(client) == f"{name_of(echo)}\n".encode() + b"x" * 100_000


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_broken_header(path: Path, echo: SocketAddress) -> None:
    """Those that are only cut off are broken once no more can come."""
    with with_header(echo) as lane:
        with lane.connect() as client:
            with suppress(OSError):  # It may be closed before all is said.
                client.sendall(path.read_bytes())
                client.shutdown(socket.SHUT_WR)
            assert closed(client)
        eventually(lambda: lane.total(Count.NO_HEADER) == 1, "it is counted")
        assert lane.count(Count.OPENED) == [0]


@pytest.fixture(scope="module")
def headed_lane(echo: SocketAddress) -> Iterator[RunningLane]:
    with with_header(echo) as lane:
        yield lane


@settings(max_examples=200)
@given(data=any_start, cuts=st.sets(st.integers(1, 130), max_size=4))
def test_any_start_in_any_pieces(data: bytes, cuts: set[int], headed_lane: RunningLane, echo: SocketAddress) -> None:
    with headed_lane.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # It may be closed before all is said.
            for begin, end in pairwise([0, *sorted(cuts), len(data)]):
                client.sendall(data[begin:end])
                headed_lane.run(lambda: None)
            client.shutdown(socket.SHUT_WR)
        assert name(client) == (name_of(echo) if is_header(data) else "")


def is_header(data: bytes) -> bool:
    """Whether it begins with one."""
    try:
        return decode(data) is not None
    except HeaderFault:
        return False


def test_who_says_nothing_in_time(echo: SocketAddress) -> None:
    with with_header(echo, proxy_protocol_timeout=0.02) as lane:
        clients = [lane.connect() for _ in range(3)]
        clients[1].sendall(HEADER[:-1])
        assert all(map(closed, clients))
        eventually(lambda: lane.total(Count.NO_HEADER) == 3, "they are counted")


def test_a_header_in_time_is_all_that_is_asked_for(echo: SocketAddress) -> None:
    with with_header(echo, proxy_protocol_timeout=0.05) as lane, lane.connect() as client:
        client.sendall(HEADER)
        assert name(client) == name_of(echo)
        assert closed(lane.connect()), "who came later has had his time"
        assert echoes(client)


def test_who_leaves_before_the_header(echo: SocketAddress) -> None:
    with with_header(echo) as lane:
        for way in (leave, reset, lambda client: leave_within(client)):
            client = lane.connect()
            eventually(lambda: lane.clients == 1, "it is accepted")
            way(client)
            eventually(lambda: not lane.clients, "it has gone")
        assert lane.total(Count.NO_HEADER) == 3
        assert lane.count(Count.OPENED) == [0]


def leave_within(client: socket.socket) -> None:
    client.sendall(HEADER[:7])
    client.close()


def test_thousands_who_say_nothing_are_no_burden(echo: SocketAddress) -> None:
    """They wait, and others do not wait for them."""
    with ExitStack() as stack, with_header(echo) as lane:
        silent = [stack.enter_context(lane.connect()) for _ in range(2000)]
        eventually(lambda: lane.clients == len(silent), "all are accepted")
        for _ in range(50):
            with lane.connect() as client:
                client.sendall(HEADER)
                assert name(client) == name_of(echo)
                assert echoes(client)
        assert lane.clients >= len(silent)
        for client in silent[::100]:
            client.sendall(HEADER)
        assert all(name(client) == name_of(echo) for client in silent[::100])
        for client in silent:
            client.close()
        eventually(lambda: lane.total(Count.NO_HEADER) == len(silent) - len(silent[::100]), "the others are counted")


def test_a_pool_that_has_gone_while_the_header_was_awaited(echo: SocketAddress) -> None:
    with with_header(echo) as lane:
        client = lane.connect()
        eventually(lambda: lane.clients == 1, "it is accepted")
        picture = with_listener(a_snapshot([echo]), pool="other")
        (pool,) = picture.pools
        lane.see(msgspec.structs.replace(picture, pools=(msgspec.structs.replace(pool, name="other"),)))
        client.sendall(HEADER)
        assert closed(client)
        eventually(lambda: lane.turned_away == 1, "it is counted")
        with lane.connect() as other:
            assert name(other) == name_of(echo)


@contextmanager
def a_listening_server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        yield server


def told(server: socket.socket, count: int) -> bytes:
    """What the next client says first."""
    session, _ = server.accept()
    with session:
        session.settimeout(DEADLINE)
        return read(session, count)


def read(client: socket.socket, count: int = sys.maxsize) -> bytes:
    """So many bytes, or all there are."""
    heard = b""
    while len(heard) < count and (piece := client.recv(min(count - len(heard), 1 << 20))):
        heard += piece
    return heard


def test_the_server_is_told_who_comes() -> None:
    with a_listening_server() as server:
        picture = with_listener(a_snapshot([server.getsockname()]), send_proxy_protocol=True)
        with a_lane(picture) as lane, lane.connect() as client:
            client.sendall(b"hello")
            (host, port), (own, its) = client.getsockname(), lane.address
            expected = f"PROXY TCP4 {host} {own} {port} {its}\r\nhello".encode()
            assert told(server, len(expected)) == expected


@pytest.mark.parametrize("trusted", [("127.0.0.0/8",), ("10.0.0.0/8", "unix:")])
def test_what_a_header_tells_is_passed_on_if_it_is_believed(trusted: Sequence[str]) -> None:
    networks = tuple(map(parse_network, trusted))
    with ExitStack() as stack:
        server = stack.enter_context(a_listening_server())
        address = server.getsockname()
        lane = stack.enter_context(with_header(address, trusted_proxies=networks, send_proxy_protocol=True))
        client = stack.enter_context(lane.connect())
        client.sendall(HEADER + b"hello")
        (host, port), (own, its) = client.getsockname(), lane.address
        if len(trusted) == 1:
            host, port = "10.1.2.3", 7000
        expected = f"PROXY TCP4 {host} {own} {port} {its}\r\nhello".encode()
        assert told(server, len(expected)) == expected


def test_only_the_server_that_gets_the_client_is_told(echo: SocketAddress) -> None:
    with a_listening_server() as server, refusing(["127.0.0.2"]) as dead:
        picture = with_listener(a_snapshot([*dead, server.getsockname()]), send_proxy_protocol=True)
        with a_lane(picture) as lane, lane.connect() as client:
            assert told(server, 6) == b"PROXY "
            assert closed(client)
            assert lane.count(Count.DIAL_FAILURES) == [1, 0]


RULES = ("deny 127.0.0.9", "allow 127.0.0.0/8", "deny all")


def test_who_may_come_in(echo: SocketAddress) -> None:
    access = tuple(map(parse_access, RULES))
    with a_lane(with_listener(a_snapshot([echo]), access=access)) as lane:
        for host, may in (("127.0.0.1", True), ("127.0.0.9", False), ("127.9.9.9", True)):
            with socket.create_connection(lane.address, DEADLINE, (host, 0)) as client:
                assert name(client) == (name_of(echo) if may else "")
        assert (lane.total(Count.DENIED), lane.turned_away) == (1, 0)
        lane.see(with_listener(a_snapshot([echo]), access=(parse_access("deny all"),)))
        assert closed(lane.connect())


def test_the_rules_are_for_the_real_client(echo: SocketAddress) -> None:
    access, trusted = (parse_access("deny 10.1.2.0/24"),), (parse_network("127.0.0.1"),)
    with with_header(echo, access=access, trusted_proxies=trusted) as lane:
        for host, may in (("127.0.0.1", False), ("127.0.0.2", True)):
            with socket.create_connection(lane.address, DEADLINE, (host, 0)) as client:
                client.sendall(HEADER)
                assert name(client) == (name_of(echo) if may else "")


def answer_of(lane: RunningLane, says: bytes = b"") -> bytes:
    with lane.connect() as client:
        client.sendall(says)
        return read(client)


def test_an_answer() -> None:
    with a_lane(with_listener(a_snapshot([]), pool=None, answer="$remote_addr:$server_port $status\n")) as lane:
        assert answer_of(lane) == f"127.0.0.1:{lane.address[1]} 000\n".encode()
        lane.see(with_listener(a_snapshot([]), pool=None, answer=""))
        assert answer_of(lane) == b""
    with with_header(("127.0.0.1", 1), pool=None, answer="$proxy_protocol_addr|$remote_addr") as lane:
        assert answer_of(lane, HEADER) == b"10.1.2.3|127.0.0.1"


def test_a_long_answer_to_a_slow_client() -> None:
    text = "a long story " * 2_000_000
    with a_lane(with_listener(a_snapshot([]), pool=None, answer=text)) as lane, lane.connect() as client:
        eventually(lambda: lane.clients == 1, "it is accepted")
        assert len(read(client)) == len(text)


def test_a_client_who_does_not_read_a_long_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_PATIENCE", 0.02)
    picture = with_listener(a_snapshot([]), pool=None, answer="a long story " * 2_000_000)
    with a_lane(picture) as lane, lane.connect() as client:
        eventually(lambda: lane.total(Count.OPENED) == 1 and not lane.clients, "it is not waited for")
        assert 0 < len(read(client)) < 26_000_000


def test_a_client_who_leaves_within_a_long_answer() -> None:
    with a_lane(with_listener(a_snapshot([]), pool=None, answer="a long story " * 2_000_000)) as lane:
        client = lane.connect()
        assert client.recv(100)
        reset(client)
        eventually(lambda: not lane.clients, "it is not told any more")


@contextmanager
def a_headed_proxy(directory: Path, echo: SocketAddress, **settings: Any) -> Iterator[Proxy]:
    with reserved() as listen, running(directory, config=headed(listen, echo, **settings)) as proxy:
        yield proxy


def headed(listen: SocketAddress, echo: SocketAddress, **settings: Any) -> Config:
    config = a_config(listen, [echo])
    listener = msgspec.structs.replace(config.listeners[0], accept_proxy_protocol=True, **settings)
    return msgspec.structs.replace(config, listeners=(listener,))


def test_an_upgrade_while_a_header_is_awaited(tmp_path: Path, echo: SocketAddress) -> None:
    """The old worker reads it, and the session follows the others."""
    with a_headed_proxy(tmp_path, echo) as proxy:
        clients = [socket.create_connection(proxy.address, DEADLINE) for _ in range(4)]
        eventually(lambda: proxy.status().clients.active == 4, "they are accepted")
        for client in clients[:2]:
            client.sendall(HEADER[:20])
        old = proxy.supervisor
        old.send_signal(signal.SIGUSR2)
        proxy.log.wait_for("started", count=2)
        for client, rest in zip(clients, (HEADER[20:], HEADER[20:], HEADER, HEADER), strict=True):
            client.sendall(rest)
            assert name(client) == name_of(echo)
        proxy.log.wait_for("upgraded")
        eventually(lambda: not old.is_running() or old.status() == "zombie", "the old one has gone")
        assert all(map(echoes, clients))
        assert proxy.servers()[0].active == 4
        for client in clients:
            leave(client)


def test_a_reload_changes_who_may_come_in(tmp_path: Path, echo: SocketAddress) -> None:
    with reserved() as listen:
        config = headed(listen, echo)
        with running(tmp_path, config=config) as proxy:
            waiting = socket.create_connection(listen, DEADLINE)
            eventually(lambda: proxy.status().clients.active == 1, "it is accepted")
            listener = msgspec.structs.replace(a_config(listen, [echo]).listeners[0], access=("deny all",))
            changed = msgspec.structs.replace(config, listeners=(listener,))
            (tmp_path / "kubelb.toml").write_text(write_toml(changed))
            adminclient.reload(proxy.runtime_dir)
            eventually(lambda: not let_in(listen), "nobody is let in")
            waiting.sendall(HEADER)
            assert name(waiting) == name_of(echo), "what held when it came holds"
            leave(waiting)
            proxy.log.wait_for("client_denied")
