"""The relay thread itself: deadlines, idle sessions, and faults of our own, which must strike nobody else."""

from __future__ import annotations

import os
import select
import socket
import threading

import pytest
from structlog.testing import capture_logs

from kubelb.relay.session import End
from tests.real.relay.rig import BLOB, DEADLINE, SMALL, Link, Rig, read_to_the_end
from tests.support.eventually import eventually

both_shares = pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
SHORT = 0.5
"""Seconds; a session that something moves on all the time must never be silent for so long, on a busy machine too."""


def ping(link: Link, up: bool) -> None:
    """One byte, in one direction."""
    source, sink = (link.client, link.server) if up else (link.server, link.client)
    source.sendall(b"x")
    assert sink.recv(1) == b"x"


@both_shares
def test_only_silence_of_both_directions_ends_a_session(share: bool) -> None:
    """Twice as long as a silent session lives, so do those that move a byte now and then, whichever way."""
    with Rig(share=share) as rig:
        rising, falling = rig.open(idle_timeout=SHORT), rig.open(idle_timeout=SHORT)
        unlimited = rig.open()
        for _ in range(2):
            silent = rig.open(idle_timeout=SHORT)
            while silent.session.about not in rig.book.ends:
                ping(rising, up=True)
                ping(falling, up=False)
            assert rig.end_of(silent) is End.IDLE
            assert silent.client.recv(1) == silent.server.recv(1) == b""
        assert list(rig.book.ends.values()) == [[End.IDLE]] * 2
        for link in (rising, falling):
            assert rig.end_of(link) is End.IDLE
        ping(unlimited, up=True)


@both_shares
@pytest.mark.parametrize("zero_copy", [True, False], ids=["splice", "copy"])
def test_an_idle_session_that_holds_bytes_back_is_cut(share: bool, zero_copy: bool) -> None:
    """What was not delivered must look cut."""
    with Rig(zero_copy, share) as rig:
        link = rig.open(SMALL, idle_timeout=SHORT)
        link.block(link.client, BLOB)
        assert rig.end_of(link) is End.IDLE
        with pytest.raises(ConnectionResetError):
            read_to_the_end(link.server)


@both_shares
def test_a_half_closed_session_ends_once_nothing_moves(share: bool) -> None:
    """Whichever side has ended; one that may be silent for ever is only ended by its silence after that."""
    with Rig(share=share) as rig:
        whole = rig.open(half_close_timeout=SHORT)
        for ends_first, answers in (("client", "server"), ("server", "client")):
            link = rig.open(half_close_timeout=SHORT)
            far, other = getattr(link, ends_first), getattr(link, answers)
            far.shutdown(socket.SHUT_WR)
            assert other.recv(1) == b""
            other.sendall(b"x")
            assert far.recv(1) == b"x"
            assert rig.end_of(link) is End.IDLE
            assert far.recv(1) == b""
        ping(whole, up=True)


def test_a_half_closed_session_may_be_idle_too() -> None:
    with Rig() as rig:
        link = rig.open(idle_timeout=SHORT)
        link.client.close()
        assert link.server.recv(1) == b""
        assert rig.end_of(link) is End.IDLE


class _Deadline:
    """What happens when it has come is drawn by the test."""

    def __init__(self, failing: bool = False) -> None:
        self.wheel_key = 0
        self.failing = failing
        self.came = threading.Event()

    def expired(self) -> None:
        self.came.set()
        if self.failing:
            raise ZeroDivisionError


def test_deadlines_come_unless_dropped() -> None:
    with Rig() as rig:
        dropped, kept, later = _Deadline(), _Deadline(), _Deadline()

        def set_all() -> None:
            for deadline in (dropped, kept):
                rig.thread.set_deadline(deadline, 0.05)
            rig.thread.set_deadline(later, 0.2)
            rig.thread.drop_deadline(dropped)

        rig.run(set_all)
        assert kept.came.wait(DEADLINE)
        assert later.came.wait(DEADLINE)
        assert not dropped.came.is_set()


class _Rival:
    """Whichever of two comes first drops the other."""

    def __init__(self, rig: Rig, came: list[object]) -> None:
        self.wheel_key = 0
        self.other: _Rival | None = None
        self._rig = rig
        self._came = came

    def expired(self) -> None:
        assert self.other is not None
        self._rig.thread.drop_deadline(self.other)
        self._came.append(self)


def test_a_deadline_that_is_dropped_at_its_very_moment_does_not_come() -> None:
    with Rig() as rig:
        came: list[object] = []
        one, other = _Rival(rig, came), _Rival(rig, came)
        one.other, other.other = other, one
        later = _Deadline()

        def set_all() -> None:
            rig.thread.set_deadline(one, 0.05)
            rig.thread.set_deadline(other, 0.05)
            rig.thread.set_deadline(later, 0.1)

        rig.run(set_all)
        assert later.came.wait(DEADLINE)
        assert len(came) == 1


def test_a_fault_of_a_deadline_strikes_no_other() -> None:
    with capture_logs() as logs, Rig() as rig:
        link = rig.open()
        failing, other = [_Deadline(failing=True) for _ in range(3)], _Deadline()

        def set_all() -> None:
            for deadline in (*failing, other):
                rig.thread.set_deadline(deadline, 0.0)

        rig.run(set_all)
        assert other.came.wait(DEADLINE)
        ping(link, up=True)
    assert [entry["event"] for entry in logs] == ["internal_error"] * 3


def test_a_fault_of_a_posted_call_strikes_no_other() -> None:
    with capture_logs() as logs, Rig() as rig:
        link, done = rig.open(), threading.Event()

        def fail() -> None:
            raise ZeroDivisionError

        def post_both() -> None:
            rig.thread.post(fail)
            rig.thread.post(done.set)

        rig.thread.post(post_both)
        assert done.wait(DEADLINE)
        ping(link, up=True)
    assert [entry["event"] for entry in logs] == ["internal_error"]


def test_a_fault_of_a_handler_strikes_no_other() -> None:
    with capture_logs() as logs, Rig() as rig:
        link, called = rig.open(), threading.Event()
        read, write = os.pipe()

        def fail(mask: int) -> None:
            rig.thread.unwatch(read)
            called.set()
            raise ZeroDivisionError

        rig.run(lambda: rig.thread.watch(read, select.EPOLLIN, fail))
        os.write(write, b"x")
        assert called.wait(DEADLINE)
        ping(link, up=True)
        os.close(read)
        os.close(write)
    assert [entry["event"] for entry in logs] == ["internal_error"]


@both_shares
def test_a_fault_of_a_session_ends_that_session_only(share: bool) -> None:
    with capture_logs() as logs, Rig(share=share) as rig:
        broken, well = rig.open(), rig.open()
        for _ in range(2):
            # With the second the thread has done all that there was to do for the first.
            ping(broken, up=True)
        broken.session.up.back = None  # type: ignore[assignment]
        broken.client.close()
        assert rig.end_of(broken) is End.INTERNAL
        with pytest.raises(ConnectionResetError):
            read_to_the_end(broken.server)
        ping(well, up=True)
    assert [entry["event"] for entry in logs] == ["internal_error"]


@both_shares
def test_the_books_are_kept_while_a_session_lives(share: bool) -> None:
    with Rig(share=share) as rig:
        link = rig.open()
        for up in (True, True, False):
            ping(link, up)
        eventually(lambda: rig.moved(link) == (2, 1), "the bytes are in the books")
        assert link.session.about not in rig.book.ends
        ping(link, up=True)
        link.client.close()
        link.server.close()
        assert rig.end_of(link) is End.CLOSED
        assert rig.moved(link) == (3, 1)


def test_bytes_that_move_while_they_are_counted_are_counted_once() -> None:
    """A session alone moves on its own thread while the one it came from keeps its accounts."""
    link = Link.make()
    session = link.session
    looks = iter(range(0, 1000, 10))

    class Moving:
        """A flow of which each look finds more moved."""

        @property
        def moved(self) -> int:
            return next(looks)

    session.up = Moving()  # type: ignore[assignment]
    counted = sum(session.uncounted()[0] for _ in range(4))
    assert counted == session.counted[0]
    for sock in (link.client, link.server, session.client, session.server):
        sock.close()


def test_a_stopped_thread_cuts_the_sessions_it_still_holds() -> None:
    with Rig() as rig:
        link = rig.open()
        ping(link, up=True)
        rig.stop()
        with pytest.raises(ConnectionResetError):
            link.client.recv(1)
        assert rig.end_of(link) is End.SERVER_RESET
