"""Sessions that a relay thread is told to end: cut with a reset to both sides, or closed cleanly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from kubelb.relay.flow import State
from kubelb.relay.session import End, _queued
from tests.real.relay.rig import BLOB, DEADLINE, LARGE, SMALL, Link, Rig, fill, is_reset, read_to_the_end
from tests.support.eventually import eventually
from tests.support.identity import reset

T = TypeVar("T")
both_shares = pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
both_conduits = pytest.mark.parametrize("zero_copy", [True, False], ids=["splice", "copy"])
ROUNDS = 150


def on(rig: Rig, call: Callable[[], T]) -> T:
    """What ``call`` gives, made by the relay thread, which does nothing else meanwhile."""
    answer: Future[T] = Future()

    def make() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    rig.thread.post(make)
    return answer.result(2 * DEADLINE)


def post_end(rig: Rig, link: Link, end: End) -> None:
    """Without waiting for it."""

    def call() -> None:
        rig.thread.end(link.session, end)

    rig.thread.post(call)


def ping(link: Link) -> None:
    """A byte there and one back: the session lives."""
    link.client.sendall(b"?")
    assert link.server.recv(1) == b"?"
    link.server.sendall(b"!")
    assert link.client.recv(1) == b"!"


def assert_cut(rig: Rig, link: Link) -> None:
    assert is_reset(link.client)
    assert is_reset(link.server)
    assert rig.end_of(link) is End.CUT


@both_shares
def test_an_idle_session_is_cut_and_no_other(share: bool) -> None:
    with Rig(share=share) as rig:
        cut, other = rig.open(), rig.open()
        for link in (cut, other):
            ping(link)
        assert set(on(rig, rig.thread.sessions)) == {cut.session, other.session}
        assert on(rig, lambda: rig.thread.end(cut.session, End.CUT))
        assert_cut(rig, cut)
        ping(other)
        eventually(lambda: on(rig, rig.thread.sessions) == [other.session], "one is left")


@both_shares
def test_a_session_that_is_told_twice_to_end_does_as_it_was_told_first(share: bool) -> None:
    with capture_logs() as logs, Rig(share=share) as rig:
        link = rig.open()
        ping(link)
        on(rig, lambda: [rig.thread.end(link.session, end) for end in (End.REBALANCED, End.CUT)])
        assert link.client.recv(1) == link.server.recv(1) == b""
        assert rig.end_of(link) is End.REBALANCED
    assert not logs


@both_shares
def test_a_session_is_cut_as_soon_as_it_is_there(share: bool) -> None:
    with Rig(share=share) as rig:
        link = Link.make()
        post_end(rig, link, End.REBALANCED)
        rig.adopt(link)
        post_end(rig, link, End.CUT)
        assert_cut(rig, link)


@both_shares
@both_conduits
@pytest.mark.parametrize("end", [End.CUT, End.REBALANCED])
def test_a_session_that_holds_bytes_back_is_always_cut(share: bool, zero_copy: bool, end: End) -> None:
    """What was not delivered must look cut, whatever the end is called."""
    with Rig(zero_copy, share) as rig:
        link = rig.open(SMALL)
        link.block(link.client, BLOB)
        on(rig, lambda: rig.thread.end(link.session, end))
        assert is_reset(link.client)
        assert is_reset(link.server)
        assert rig.end_of(link) is end


@both_shares
def test_a_half_closed_session_is_cut(share: bool) -> None:
    with Rig(share=share) as rig:
        link = rig.open()
        link.client.shutdown(socket.SHUT_WR)
        assert link.server.recv(1) == b""
        on(rig, lambda: rig.thread.end(link.session, End.CUT))
        assert is_reset(link.client)
        assert rig.end_of(link) is End.CUT


@both_conduits
def test_a_bulk_session_is_cut_in_the_middle_of_its_transfer(zero_copy: bool) -> None:
    with Rig(zero_copy) as rig, ThreadPoolExecutor(2) as pool:
        link = rig.open(LARGE)
        rig.promote(link)
        received = bytearray()

        def send() -> None:
            while True:
                link.client.sendall(BLOB)

        sent, read = pool.submit(send), pool.submit(read_to_the_end, link.server, received)
        eventually(lambda: len(received) > len(BLOB), "the transfer is on its way")
        assert link.is_alone
        assert on(rig, lambda: rig.thread.end(link.session, End.CUT))
        assert isinstance(sent.exception(DEADLINE), ConnectionError)
        assert isinstance(read.exception(DEADLINE), ConnectionResetError)
        assert rig.end_of(link) is End.CUT
        eventually(lambda: on(rig, rig.thread.sessions) == [], "nothing is left")


@pytest.mark.parametrize("mode", ["shared", "alone", "bulk"])
@pytest.mark.parametrize("by_reset", [False, True], ids=["orderly", "reset"])
def test_a_cut_that_meets_the_sessions_own_end(mode: str, by_reset: bool) -> None:
    """However the two fall together, the session ends once, and the books are balanced."""
    with capture_logs() as logs, Rig(share=mode != "alone") as rig:
        for _ in range(10 if mode == "bulk" else ROUNDS):
            link = rig.open(LARGE if mode == "bulk" else None)
            if mode == "bulk":
                rig.promote(link)
            ping(link)
            link.server.close()
            post_end(rig, link, End.CUT)
            (reset if by_reset else socket.socket.close)(link.client)
            assert rig.end_of(link) in (End.CUT, End.CLOSED, End.CLIENT_RESET, End.SERVER_RESET)
        on(rig, lambda: None)
        assert all(len(ends) == 1 for ends in rig.book.ends.values())
        assert on(rig, rig.thread.sessions) == []
    assert not logs


def test_a_session_that_was_just_given_back_is_cut_all_the_same() -> None:
    """Its thread has let go of it, and the relay thread does not know yet."""
    with Rig() as rig:
        link = rig.open(LARGE)
        rig.promote(link)

        def cut_late() -> bool:
            eventually(lambda: not link.is_alone, "it went quiet, and its thread has ended")
            return rig.thread.end(link.session, End.CUT)

        assert on(rig, cut_late)
        assert_cut(rig, link)


def test_a_session_that_has_just_ended_on_its_own_thread_ends_once() -> None:
    with Rig(share=False) as rig:
        link, other = rig.open(), rig.open()
        for each in (link, other):
            ping(each)

        def cut_late() -> bool:
            link.close()
            eventually(lambda: not link.is_alone, "its thread has ended")
            return rig.thread.end(link.session, End.CUT)

        assert on(rig, cut_late)
        assert rig.end_of(link) in (End.CLOSED, End.SERVER_RESET)
        ping(other)


@both_shares
def test_no_session_is_taken_for_an_ended_one_whose_descriptors_it_got(share: bool) -> None:
    with Rig(share=share) as rig:
        first, others = rig.open(), list[Link]()
        ping(first)
        first.close()
        rig.end_of(first)
        while not any(first.session.up.src == link.session.up.src for link in others):
            others.append(rig.open())
            ping(others[-1])
            assert len(others) < 50
        assert not on(rig, lambda: rig.thread.end(first.session, End.CUT))
        for link in others:
            ping(link)


@both_shares
def test_a_rebalanced_session_ends_orderly_on_both_sides(share: bool) -> None:
    with Rig(share=share) as rig:
        link = rig.open()
        ping(link)
        eventually(lambda: on(rig, lambda: link.session.at_rest), "all is acknowledged")
        assert on(rig, lambda: rig.thread.end(link.session, End.REBALANCED, lambda session: session.at_rest))
        assert link.client.recv(1) == link.server.recv(1) == b""
        assert rig.end_of(link) is End.REBALANCED


@both_shares
def test_a_session_lives_on_unless_the_condition_holds_where_it_is_held(share: bool) -> None:
    with Rig(share=share) as rig:
        link, asked = rig.open(), list[str]()
        ping(link)
        holder = f"alone-{link.session.up.src}" if not share else "relay"

        def refuse(session: object) -> bool:
            assert session is link.session
            asked.append(threading.current_thread().name)
            return False

        on(rig, lambda: [rig.thread.end(link.session, End.REBALANCED, refuse) for _ in range(3)])
        eventually(lambda: asked == [holder] * 3, "the condition was looked at")
        ping(link)
        on(rig, lambda: rig.thread.end(link.session, End.CUT))
        assert_cut(rig, link)


def test_bulk_sessions_are_told_from_the_others() -> None:
    with Rig() as rig:
        small, bulk = rig.open(), rig.open(LARGE)
        ping(small)
        rig.promote(bulk)
        assert set(on(rig, rig.thread.sessions)) == {small.session, bulk.session}
        assert on(rig, lambda: rig.thread.sessions(bulk=False)) == [small.session]
    with Rig(share=False) as rig:
        link = rig.open()
        ping(link)
        assert on(rig, lambda: rig.thread.sessions(bulk=False)) == [link.session]


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_a_session_is_at_rest_only_with_nothing_on_its_way(up: bool) -> None:
    """Each place where a byte can wait, one after the other."""
    with Rig() as rig:
        link = rig.open(SMALL)
        source, sink = (link.client, link.server) if up else (link.server, link.client)
        flow = link.flow_from(source)

        def at_rest() -> bool:
            return on(rig, lambda: link.session.at_rest)

        ping(link)
        eventually(at_rest, "all bytes are where they belong")

        def unread() -> None:
            source.sendall(b"x")
            eventually(lambda: not link.session.at_rest, "the byte is seen before it is read")
            assert flow.moved == 1

        on(rig, unread)
        assert sink.recv(1) == b"x"
        eventually(at_rest, "the byte has arrived")

        received = 0
        while at_rest():
            received += source.send(bytes(1024))
            eventually(lambda: flow.moved == 2 + received, "the bytes were read")  # noqa: B023
        assert flow.held is None, "they are written, and have not reached the reader"
        received += fill(source, BLOB)
        eventually(lambda: flow.held is not None, "the flow is blocked")
        assert not at_rest()
        while received:
            received -= len(sink.recv(64 << 10))
        eventually(at_rest, "all is read")

        source.shutdown(socket.SHUT_WR)
        eventually(lambda: flow.state is State.SHUT, "one direction has ended")
        sockets = (link.session.client, link.session.server)
        eventually(lambda: not any(map(_queued, sockets)), "the end has arrived")
        assert not at_rest()
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
