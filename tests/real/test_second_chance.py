"""A client whose server does not answer its ClientHello is taken to another, and to nobody else's harm.

Servers are listening sockets: the kernel completes their connections, and they say what a test has them say.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from kubelb.config.model.logs import AccessLog
from kubelb.proxyproto import encode
from kubelb.snapshot import Server, SocketAddress
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER
from kubelb.worker.retry_budget import LEAST
from kubelb.worker.second_chance import Newcomer
from tests.real.relay.rig import is_reset, read_to_the_end
from tests.support.eventually import eventually
from tests.support.hello import ANSWER, EARLY, client_hello
from tests.support.holes import a_hole
from tests.support.identity import name_of, reset
from tests.support.lanes import DEADLINE, LONG, a_lane, a_snapshot, with_listener

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT = 0.02
"""Seconds: as little as there has to be waited for, since something is."""
HELLO = client_hello()


class Stage:
    """A relay thread with servers of which nobody accepts unless a test does."""

    def __init__(
        self, stack: ExitStack, count: int, hedge_delay: float = SHORT, share: bool = True, **changes: Any
    ) -> None:
        self.listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        for listener in self.listeners:
            listener.settimeout(DEADLINE)
        self.addresses: list[SocketAddress] = [listener.getsockname() for listener in self.listeners]
        snapshot = with_listener(a_snapshot(self.addresses, hedge_delay=hedge_delay), **changes)
        self.lane = stack.enter_context(a_lane(snapshot, share))
        self._stack = stack

    def client(self, words: bytes = HELLO) -> socket.socket:
        client = self._stack.enter_context(self.lane.connect())
        client.sendall(words)
        return client

    def accept(self, position: int) -> socket.socket:
        server = self._stack.enter_context(self.listeners[position].accept()[0])
        server.settimeout(DEADLINE)
        return server

    def has_nobody(self, position: int) -> bool:
        """Whether no connection waits to be accepted there."""
        self.listeners[position].setblocking(False)
        try:
            self.listeners[position].accept()[0].close()
        except BlockingIOError:
            return True
        finally:
            self.listeners[position].settimeout(DEADLINE)
        return False

    def waiting(self) -> list[Newcomer]:
        return self.lane.lane._chances._waiting


@contextmanager
def a_stage(count: int = 2, hedge_delay: float = SHORT, share: bool = True, **changes: Any) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, count, hedge_delay, share, **changes)


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def said_before_the_reset(sock: socket.socket) -> bytes:
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        return data
    raise AssertionError("it has ended orderly")


def assert_carries(client: socket.socket, server: socket.socket) -> None:
    """Bytes both ways."""
    client.sendall(b"up")
    assert read(server, 2) == b"up"
    server.sendall(b"down")
    assert read(client, 4) == b"down"


def assert_carries_after_hello(client: socket.socket, server: socket.socket) -> None:
    assert read(server, len(HELLO)) == HELLO
    assert_carries(client, server)


@contextmanager
def a_tls_server(ca: trustme.CA) -> Iterator[SocketAddress]:
    """Says its name once the handshake is done."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: SocketAddress = listener.getsockname()

        def serve() -> None:
            with suppress(OSError), listener.accept()[0] as client:
                client.settimeout(DEADLINE)
                with context.wrap_socket(client, server_side=True) as server:
                    server.sendall(name_of(address).encode())

        thread = threading.Thread(target=serve, name="tls-server")
        thread.start()
        try:
            yield address
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_client_is_served_although_its_server_accepts_nobody(newest: ssl.TLSVersion) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    context.maximum_version = newest
    with socket.create_server(("127.0.0.1", 0)) as silent, a_tls_server(ca) as good:
        addresses = [silent.getsockname(), good]
        with a_lane(a_snapshot(addresses, hedge_delay=SHORT)) as lane, lane.connect() as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                assert client.recv(256).decode() == name_of(good)
                assert lane.count(Count.ACTIVE) == [0, 1]
            eventually(lane.is_quiet, "it is over")
            assert lane.count(Count.OPENED) == [1, 1]
            assert lane.count(Count.DIAL_FAILURES) == lane.count(Count.UNANSWERED) == [1, 0]
            assert lane.faults(1) == ["accepted and did not answer"]
            assert not lane.faults(2)


def test_each_byte_is_said_and_counted_as_it_should_be() -> None:
    with a_stage() as stage:
        client = stage.client()
        second = stage.accept(1)
        assert read(second, len(HELLO)) == HELLO
        second.sendall(ANSWER)
        assert read(client, len(ANSWER)) == ANSWER
        assert_carries(client, second)
        assert said_before_the_reset(stage.accept(0)) == HELLO
        client.shutdown(socket.SHUT_WR)
        assert read_to_the_end(second) == b""
        second.close()
        assert read_to_the_end(client) == b""
        eventually(stage.lane.is_quiet, "it is over")
        assert sum(stage.lane.count(Count.BYTES_UP)) == len(HELLO) + 2
        assert stage.lane.count(Count.BYTES_DOWN) == [0, len(ANSWER) + 4]
        assert stage.lane.count(Count.CLOSED) == [0, 1]


def test_the_first_has_the_client_where_it_answers_late_but_first() -> None:
    with a_stage() as stage:
        client = stage.client()
        second = stage.accept(1)
        assert read(second, len(HELLO)) == HELLO
        first = stage.accept(0)
        first.sendall(ANSWER)
        assert read(client, len(ANSWER)) == ANSWER
        assert said_before_the_reset(second) == b""
        eventually(lambda: stage.lane.count(Count.ACTIVE) == [1, 0], "the second has its place back")
        assert read(first, len(HELLO)) == HELLO
        assert_carries(client, first)
        assert stage.lane.count(Count.DIAL_FAILURES) == [0, 0]
        assert stage.lane.count(Count.OPENED) == [1, 0]
        assert not stage.lane.sightings


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16",
        HELLO[:-1],
        HELLO + b"x",
        HELLO * 2,
        client_hello([EARLY]),
        b"\x16" * 20000,
    ],
    ids=["http", "a byte", "a part", "more", "two", "early data", "much"],
)
def test_nothing_else_is_ever_said_twice(words: bytes) -> None:
    with a_stage() as stage:
        client = stage.client(words)
        first = stage.accept(0)
        assert read(first, len(words)) == words
        eventually(lambda: not stage.waiting(), "it waits no more")
        assert_carries(client, first)
        assert stage.has_nobody(1)
        assert stage.lane.count(Count.ACTIVE) == [1, 0]


def test_who_hears_from_its_server_first_is_left_alone() -> None:
    with a_stage() as stage:
        client = stage.client(b"")
        first = stage.accept(0)
        first.sendall(b"220 ready")
        assert read(client, 9) == b"220 ready"
        client.sendall(HELLO)
        assert read(first, len(HELLO)) == HELLO
        assert_carries(client, first)
        assert not stage.waiting()
        assert stage.has_nobody(1)


def test_who_says_more_has_its_server_for_good() -> None:
    with a_stage() as stage:
        client = stage.client()
        second = stage.accept(1)
        assert read(second, len(HELLO)) == HELLO
        first = stage.accept(0)
        client.sendall(b"more")
        assert read(first, len(HELLO) + 4) == HELLO + b"more"
        second.sendall(ANSWER)
        assert is_reset(second)
        assert_carries(client, first)
        assert stage.lane.count(Count.ACTIVE) == [1, 0]


@pytest.mark.parametrize("how", [reset, lambda client: client.shutdown(socket.SHUT_WR)], ids=["reset", "half-closed"])
def test_a_client_that_leaves_meanwhile(how: Any) -> None:
    with a_stage() as stage:
        client = stage.client()
        second = stage.accept(1)
        assert read(second, len(HELLO)) == HELLO
        how(client)
        assert is_reset(second)
        stage.accept(0).close()
        eventually(lambda: stage.lane.count(Count.ACTIVE)[1] == 0, "the place is free")
        assert stage.lane.count(Count.DIAL_FAILURES) == [0, 0]


def test_a_place_is_claimed_and_given_back() -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses: list[SocketAddress] = [listener.getsockname() for listener in listeners]
        servers = [Server(slot=n, name=name_of(a), address=a, max_conns=1) for n, a in enumerate(addresses, 1)]
        lane = stack.enter_context(a_lane(a_snapshot(servers, hedge_delay=SHORT)))
        client = stack.enter_context(lane.connect())
        client.sendall(HELLO)
        second = stack.enter_context(listeners[1].accept()[0])
        assert read(second, len(HELLO)) == HELLO
        lane.assert_refuses()
        second.sendall(ANSWER)
        assert read(client, len(ANSWER)) == ANSWER
        eventually(lambda: lane.count(Count.ACTIVE) == [0, 1], "the place on the first is free")
        other = stack.enter_context(lane.connect())
        eventually(lambda: lane.count(Count.ACTIVE) == [1, 1], "it has that")
        reset(client)
        reset(other)


@pytest.mark.parametrize("how", ["refuses", "ends", "alerts", "is reset", "does not accept", "is silent"])
def test_where_the_second_is_no_good_either_there_is_a_third(how: str) -> None:
    with ExitStack() as stack:
        first, third = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        second = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = second.getsockname()
        if how == "refuses":
            second.close()
        elif how == "does not accept":
            address = stack.enter_context(a_hole()).address
        snapshot = a_snapshot([first.getsockname(), address, third.getsockname()], hedge_delay=SHORT)
        lane = stack.enter_context(a_lane(snapshot))
        client = stack.enter_context(lane.connect())
        client.sendall(HELLO)
        if how in ("ends", "alerts", "is reset"):
            with second.accept()[0] as sock:
                assert read(sock, len(HELLO)) == HELLO
                if how == "alerts":
                    sock.sendall(b"\x15\x03\x03\0\x02\x02\x28")
                    assert is_reset(sock)
                elif how == "is reset":
                    reset(sock)
        with third.accept()[0] as sock:
            assert read(sock, len(HELLO)) == HELLO
            sock.sendall(ANSWER)
            assert read(client, len(ANSWER)) == ANSWER
            eventually(lambda: lane.count(Count.ACTIVE) == [0, 0, 1], "only the third has a client")
            assert lane.count(Count.DIAL_FAILURES) == [1, int(how in ("refuses", "does not accept")), 0]
            leave_orderly(client, sock)


def leave_orderly(client: socket.socket, server: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert read_to_the_end(server) == b""
    server.close()
    assert read_to_the_end(client) == b""


def test_where_there_is_no_other_the_client_waits() -> None:
    with a_stage() as stage:
        client = stage.client()
        second = stage.accept(1)
        assert read(second, len(HELLO)) == HELLO
        second.close()
        eventually(lambda: not stage.waiting(), "there is no third")
        assert_carries_after_hello(client, stage.accept(0))
        assert stage.lane.count(Count.ACTIVE) == [1, 0]


@pytest.mark.parametrize("changes", [{"max_tries": 1}, {"retry_timeout": 1e-6}, {"download_rate": "100000"}], ids=str)
def test_who_may_not_have_one(changes: dict[str, Any]) -> None:
    with a_stage(**changes) as stage:
        client = stage.client()
        first = stage.accept(0)
        assert read(first, len(HELLO)) == HELLO
        eventually(lambda: not stage.waiting(), "it does not wait")
        assert stage.has_nobody(1)
        assert_carries(client, first)


def test_no_more_servers_are_tried_than_may_be() -> None:
    with a_stage(3, max_tries=2) as stage:
        client = stage.client()
        second = stage.accept(1)
        assert read(second, len(HELLO)) == HELLO
        second.close()
        eventually(lambda: not stage.waiting(), "it does not wait")
        assert stage.has_nobody(2)
        assert_carries_after_hello(client, stage.accept(0))


def test_as_long_as_the_delay_is_not_over_nobody_is_tried() -> None:
    with a_stage(hedge_delay=LONG) as stage:
        client = stage.client()
        first = stage.accept(0)
        assert read(first, len(HELLO)) == HELLO
        for _ in range(5):
            stage.lane.run(stage.lane.lane._chances.expired)
        assert [one.attempt for one in stage.waiting()] == [None]
        assert stage.has_nobody(1)
        assert_carries(client, first)


def test_a_session_with_a_thread_of_its_own_has_none() -> None:
    with a_stage(share=False) as stage:
        client = stage.client()
        first = stage.accept(0)
        assert read(first, len(HELLO)) == HELLO
        assert not stage.waiting()
        assert_carries(client, first)
        assert stage.has_nobody(1)


def test_no_more_have_one_than_the_budget_allows() -> None:
    with a_stage() as stage:
        clients = [stage.client() for _ in range(2 * (LEAST + 2))]
        eventually(lambda: sum(one.attempt is not None for one in stage.waiting()) >= LEAST, "some are tried")
        for _ in range(5):
            stage.lane.run(stage.lane.lane._chances.expired)
        assert sum(one.attempt is not None for one in stage.waiting()) == LEAST
        assert sum(stage.lane.count(Count.ACTIVE)) == len(clients) + LEAST
        for client in clients:
            reset(client)


def test_a_second_server_is_introduced_to_the_client() -> None:
    with a_stage(send_proxy_protocol=True) as stage:
        client = stage.client()
        second = stage.accept(1)
        header = encode(client.getsockname(), stage.lane.address)
        assert read(second, len(header) + len(HELLO)) == header + HELLO
        second.sendall(ANSWER)
        assert read(client, len(ANSWER)) == ANSWER
        assert_carries(client, second)


def test_the_address_that_servers_are_connected_to_from() -> None:
    with a_stage(bind="127.0.0.9") as stage:
        client = stage.client()
        second = stage.accept(1)
        assert second.getpeername()[0] == "127.0.0.9"
        second.sendall(ANSWER)
        assert read(client, len(ANSWER)) == ANSWER


def written(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_the_access_log_has_the_first_as_one_that_failed(tmp_path: Path) -> None:
    form = (
        "$upstream_addr|$upstream_connect_time|$upstream_bytes_sent|$upstream_bytes_received|$bytes_received|$status"
    )
    log = AccessLog(file=str(tmp_path / "log"), format=form)
    with a_stage(access_logs=(log,)) as stage:
        client = stage.client()
        second = stage.accept(1)
        second.sendall(ANSWER)
        assert read(client, len(ANSWER)) == ANSWER
        assert read(second, len(HELLO)) == HELLO
        leave_orderly(client, second)
        line = eventually(lambda: written(Path(log.file)), "it is written")
        one, other = map(name_of, stage.addresses)
        servers, accepted, *rest = line.rstrip("\n").split("|")
        assert servers == f"{one}, {other}"
        assert accepted.startswith("-, 0.")
        assert rest == [f"0, {len(HELLO)}", f"0, {len(ANSWER)}", str(len(HELLO)), "200"]


@pytest.mark.parametrize("tried", [False, True], ids=["before", "while another is tried"])
def test_a_client_that_goes_to_another_worker_meanwhile(tried: bool) -> None:
    with a_stage(hedge_delay=SHORT if tried else 5.0) as stage, ExitStack() as stack:
        taker = stack.enter_context(a_lane(a_snapshot(stage.addresses)))
        client = stage.client()
        first = stage.accept(0)
        assert read(first, len(HELLO)) == HELLO
        if tried:
            second = stage.accept(1)
            assert read(second, len(HELLO)) == HELLO
        assert stage.waiting()
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        taker.run(lambda: taker.lane.receive(theirs))
        stage.lane.run(lambda: stage.lane.lane.hand_over([ours]))
        eventually(lambda: taker.clients == 1, "it is elsewhere")
        if tried:
            with suppress(ConnectionError):
                second.sendall(ANSWER)
            assert is_reset(second)
        eventually(stage.lane.is_quiet, "nothing of it is left here")
        assert_carries(client, first)
        first.close()
        client.close()
        eventually(taker.is_quiet, "it is over")
        stage.lane.run(ours.close)
