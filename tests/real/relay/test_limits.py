"""Sessions with limited rates: nothing is lost, nothing comes too early, and all else goes on undisturbed."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from kubelb.relay.flow import State
from kubelb.relay.rate import step_size
from kubelb.relay.session import End, Session
from tests.real.relay.rig import BLOB, Link, Rig, connection, digest, fill, is_reset, read_to_the_end
from tests.support.eventually import eventually

_SLOW = 2
"""Bytes a second: who has moved so many rests for a second."""


def limited(up: int = 0, down: int = 0, room: int | None = None, idle_timeout: float | None = None) -> Link:
    (client, near_client), (server, near_server) = connection(room), connection(room)
    session = Session(near_client, near_server, 1, time.monotonic(), idle_timeout, about=object(), rates=(up, down))
    return Link(session, client, server)


def _say(sock: socket.socket, data: bytes) -> None:
    """And no more."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


@pytest.fixture
def resting() -> Iterator[tuple[Rig, Link]]:
    """A session that has moved up as much as it may, and has more to move."""
    with Rig() as rig:
        link = rig.adopt(limited(up=_SLOW))
        link.client.sendall(b"abcd")
        assert link.server.recv(10) == b"ab"
        eventually(lambda: link.session.up.state is State.RESTING, "the flow rests")
        yield rig, link


@pytest.mark.parametrize(
    ("rate", "zero_copy"), [(100, True), (1_000_000, True), (1_000_000, False), (1_000_000_000, True)]
)
def test_all_arrives_and_not_too_early(rate: int, zero_copy: bool) -> None:
    data = BLOB[: rate * 3 // 2]
    with Rig(zero_copy) as rig:
        link = rig.adopt(limited(down=rate))
        begun = time.monotonic()
        sender = threading.Thread(target=_say, args=(link.server, data))
        sender.start()
        received = read_to_the_end(link.client)
        took = time.monotonic() - begun
        sender.join()
        assert digest(received) == digest(data)
        assert took >= (len(data) - step_size(rate)) / rate - 1 / 16
        link.client.shutdown(socket.SHUT_WR)
        assert rig.end_of(link) is End.CLOSED
        assert rig.moved(link) == (0, len(data))


def test_the_other_direction_goes_on(resting: tuple[Rig, Link]) -> None:
    _, link = resting
    link.server.sendall(b"hello")
    assert link.client.recv(10) == b"hello"


def test_other_sessions_go_on_unlimited(resting: tuple[Rig, Link]) -> None:
    rig, _ = resting
    other = rig.open()
    sender = threading.Thread(target=_say, args=(other.client, BLOB))
    sender.start()
    assert digest(read_to_the_end(other.server)) == digest(BLOB)
    sender.join()


def test_it_goes_on_elsewhere(resting: tuple[Rig, Link]) -> None:
    rig, link = resting
    given: list[Session] = []
    rig.run(lambda: rig.thread.hand_over(given.append))
    assert given == [link.session]
    rig.run(lambda: _let_go(rig, link))
    rig.run(lambda: rig.thread.hand_over(None))
    rig.run(lambda: rig.thread.take_back(link.session))
    assert link.server.recv(10) == b"cd"


def _let_go(rig: Rig, link: Link) -> None:
    assert rig.thread.let_go(link.session)


def test_who_rests_is_not_idle() -> None:
    with Rig() as rig:
        link = rig.adopt(limited(up=_SLOW, idle_timeout=0.1))
        link.client.sendall(b"abcd")
        assert [link.server.recv(10), link.server.recv(10)] == [b"ab", b"cd"]
        assert rig.end_of(link) is End.IDLE


def test_the_end_is_met_after_the_rest(resting: tuple[Rig, Link]) -> None:
    _, link = resting
    link.client.shutdown(socket.SHUT_WR)
    assert read_to_the_end(link.server) == b"cd"


def test_a_reset_is_passed_on_at_once(resting: tuple[Rig, Link]) -> None:
    rig, link = resting
    link.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.client.close()
    assert rig.end_of(link) is End.CLIENT_RESET
    assert is_reset(link.server)


def test_it_may_end_while_it_rests(resting: tuple[Rig, Link]) -> None:
    rig, link = resting

    def cut() -> None:
        rig.thread.end(link.session, End.CUT)

    rig.run(cut)
    assert rig.end_of(link) is End.CUT
    eventually(lambda: not hasattr(link.session.up, "back"), "it is nobody's")
    link.server.close()
    other = rig.adopt(limited(up=_SLOW))
    other.client.sendall(b"abcd")
    assert [other.server.recv(10), other.server.recv(10)] == [b"ab", b"cd"]


def test_it_never_gets_a_thread_of_its_own() -> None:
    for share in (True, False):
        with Rig(share=share) as rig:
            link = rig.adopt(limited(up=1 << 40))
            sender = threading.Thread(target=_say, args=(link.client, BLOB))
            sender.start()
            left = len(BLOB)
            while left:
                assert not link.is_alone
                left -= len(link.server.recv(1 << 20))
            sender.join()


def test_a_reader_who_comes_late() -> None:
    with Rig() as rig:
        link = rig.adopt(limited(up=1 << 30, room=16 << 10))
        sent = 0

        def blocked() -> bool:
            nonlocal sent
            sent += fill(link.client, memoryview(BLOB)[sent:])
            return link.session.up.state is State.BLOCKED

        eventually(blocked, "the flow is blocked")
        link.client.shutdown(socket.SHUT_WR)
        assert digest(read_to_the_end(link.server)) == digest(BLOB[:sent])
