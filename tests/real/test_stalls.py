"""What a relay thread tells of sessions that wait for their server, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubelb.relay.tcp_info import keepalive, tcp_info
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Server
from kubelb.stats import Count, Table
from kubelb.wire.messages import Sighting, Stalled
from kubelb.worker import stalls
from kubelb.worker.sightings import Sightings
from tests.real.relay.rig import BLOB, SMALL, Book, Link, connection
from tests.support.eventually import eventually
from tests.support.lanes import DEADLINE, RunningLane, a_lane, a_snapshot

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        yield listener


@contextmanager
def a_session(lane: RunningLane, listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's, once bytes have come from both."""
    with lane.connect() as client:
        client.sendall(b"?")
        server, _ = listener.accept()
        with server:
            server.settimeout(DEADLINE)
            answer(client, server)
            yield client, server


def answer(client: socket.socket, server: socket.socket) -> None:
    assert server.recv(1) == b"?"
    server.sendall(b"!")
    assert client.recv(1) == b"!"


def passes(lane: RunningLane, count: int) -> None:
    """Wait until the thread has looked at its sessions so many times; something happens on it meanwhile."""
    looks = lane.lane._stalls
    for _ in range(count + 1):
        key = looks.wheel_key

        def another(before: int = key) -> bool:
            lane.run(lambda: None)
            return looks.wheel_key != before

        eventually(another, "another pass")


def test_a_server_that_lets_a_session_wait_is_told_of_and_no_other(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(DEADLINE)
        with (
            a_lane(a_snapshot([listener.getsockname(), other.getsockname()])) as lane,
            a_session(lane, listener) as (client, server),
            a_session(lane, other),
        ):
            before = time.monotonic()
            client.sendall(b"?")
            eventually(lambda: len(lane.stalls) > 1, "it is told, and again")
            for stalled in lane.stalls:
                assert (stalled.slot, stalled.acknowledged, stalled.retransmissions) == (1, True, 0)
                assert before - 0.5 <= stalled.since <= stalled.at - 0.5
            answer(client, server)


def test_a_server_that_has_never_said_anything_is_told_of(listener: socket.socket) -> None:
    """The client's first bytes are there when the session begins, and are moved in the same moment."""
    with a_lane(a_snapshot([listener.getsockname()])) as lane, ExitStack() as stack:

        def speak() -> None:
            stack.enter_context(lane.connect()).sendall(b"?")

        lane.run(speak)
        stack.enter_context(listener.accept()[0])
        eventually(lambda: lane.stalls, "it is told")
        (session,) = lane.lane.thread.sessions()
        assert session.up.moved_at == session.down.moved_at
        assert lane.count(Count.HEARD_AT) == [0]
        assert lane.count(Count.ACKED_AT) != [0]


def test_a_client_that_has_said_nothing_does_not_wait(listener: socket.socket) -> None:
    with a_lane(a_snapshot([listener.getsockname()])) as lane, lane.connect():
        listener.accept()[0].close()
        passes(lane, 4)
        assert not lane.stalls


def test_a_busy_session_is_not_told_of_and_its_server_is_heard(listener: socket.socket) -> None:
    with (
        a_lane(a_snapshot([listener.getsockname()])) as lane,
        a_session(lane, listener) as (client, server),
    ):
        stop = threading.Event()

        def talk() -> None:
            while not stop.is_set():
                client.sendall(b"?")
                answer(client, server)

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            heard: set[int] = set()

            def heard_often() -> bool:
                heard.update(lane.count(Count.HEARD_AT))
                return len(heard) > 8

            eventually(heard_often, "it is heard again and again")
            eventually(lambda: lane.count(Count.ACKED_AT) != [0], "the kernel has been asked")
        finally:
            stop.set()
            talker.join()
        assert max(heard) <= time.monotonic_ns()
        assert not lane.stalls


def test_a_server_that_sends_and_is_asked_nothing_is_not_told_of(listener: socket.socket) -> None:
    """A watch."""
    with (
        a_lane(a_snapshot([listener.getsockname()])) as lane,
        a_session(lane, listener) as (client, server),
    ):
        for _ in range(6):
            server.sendall(b"!")
            assert client.recv(1) == b"!"
            passes(lane, 1)
        assert not lane.stalls


def test_a_server_whose_answer_the_client_does_not_take_is_not_told_of(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    with (
        a_lane(a_snapshot([listener.getsockname()])) as lane,
        a_session(lane, listener) as (client, server),
    ):
        server.setblocking(False)
        session = lane.lane.thread.sessions()[0]

        def blocked() -> bool:
            try:
                server.send(BLOB)
            except BlockingIOError:
                return session.down.held is not None
            return False

        eventually(blocked, "nobody reads any more")
        client.sendall(b"?")
        passes(lane, 5)
        assert not lane.stalls


def test_a_server_behind_a_unix_socket_is_heard_and_nothing_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.settimeout(DEADLINE)
        listening.bind(path)
        listening.listen()
        server = Server(slot=1, name=f"unix:{path}", address=(path, 0))
        with a_lane(a_snapshot([server])) as lane, a_session(lane, listening) as (client, there):
            eventually(lambda: lane.count(Count.HEARD_AT) != [0], "it is heard")
            client.sendall(b"?")
            passes(lane, 4)
            assert not lane.stalls
            assert lane.count(Count.ACKED_AT) == [0]
            answer(client, there)


@pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
def test_all_sessions_have_their_turn(listener: socket.socket, monkeypatch: pytest.MonkeyPatch, share: bool) -> None:
    """However few a pass looks at, and although nothing moves any more."""
    monkeypatch.setattr(stalls, "_AT_ONCE", 2)
    with a_lane(a_snapshot([listener.getsockname()]), share=share) as lane:
        first = a_session(lane, listener)
        with first, a_session(lane, listener), a_session(lane, listener) as (client, server):
            if share:  # A session with a thread of its own always counts as moving.
                eventually(lambda: not lane.lane._stalls._comes, "nothing moves")
            client.sendall(b"?")
            eventually(lambda: lane.stalls, "it is told")
            answer(client, server)


def test_passes_go_on_until_each_has_had_its_turn_since_bytes_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread does not run: the passes are the test's."""
    monkeypatch.setattr(stalls, "_AT_ONCE", 2)
    table, told = Table(1), list[Sighting | Stalled]()
    row, thread = table.row(0), RelayThread(Book())
    looks = stalls.Stalls(thread, row, Sightings(told.append))
    links = [Link.make() for _ in range(3)]
    for link in links:
        thread.adopt(link.session)

    def a_pass(moving: bool) -> None:
        assert looks._comes
        thread.now, thread._moving = time.monotonic(), moving
        looks.expired()

    looks.begin()
    a_pass(moving=True)
    a_pass(moving=True)
    asks = links[1].session.up
    asks.moved_at = asks.first_at = time.monotonic()
    for _ in range(3):
        a_pass(moving=False)
    assert list(looks._waiting) == [links[1].session]
    thread.close()
    for link in links:
        link.close()
    row.release()
    table.close()


def test_passes_end_when_nothing_moves_and_nothing_is_remembered_of_sessions_that_have_ended(
    listener: socket.socket,
) -> None:
    with a_lane(a_snapshot([listener.getsockname()])) as lane:
        with a_session(lane, listener) as (client, _):
            client.sendall(b"?")
            eventually(lambda: lane.lane._stalls._waiting, "it waits")
        eventually(lambda: not lane.lane._stalls._waiting, "it is forgotten")
        eventually(lambda: not lane.lane._stalls._comes, "nothing moves")


def test_the_kernel_tells_of_a_connection_and_of_nothing_else() -> None:
    far, near = connection(None)
    with far, near:
        far.sendall(b"x" * 1000)
        assert near.recv(1000)
        info = eventually(lambda: tcp_info(near), "it tells")
        assert (info.unacked, info.retransmits, info.probes, info.total_retrans) == (0, 0, 0, 0)
        assert 100_000 < info.rto < 10_000_000
        eventually(lambda: info.last_data_recv < (tcp_info(near) or info).last_data_recv, "time goes by")
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 17)
        assert keepalive(near) == 17
    assert tcp_info(near) is None
    assert keepalive(near) == 0
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert tcp_info(ours) is None
