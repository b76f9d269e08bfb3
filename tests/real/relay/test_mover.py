"""The mover driven step by step on one thread, so that what epoll says after each step can be looked at.

Epoll is level-triggered: were it to report something that the mover does nothing about, a relay thread would spin.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kubelb.relay.flow import State
from kubelb.relay.mover import Mover
from kubelb.relay.pipes import SHARED, Pool
from kubelb.relay.session import End, Session
from tests.real.relay.rig import BLOB, SMALL, Book, Link, digest, fill, read_to_the_end
from tests.support.eventually import eventually
from tests.support.identity import reset

both_conduits = pytest.mark.parametrize("zero_copy", [True, False], ids=["splice", "copy"])


class _Book(Book):
    def ended(self, session: Session, end: End) -> None:
        self.moved(session)
        super().ended(session, end)


class Driver:
    """What a relay thread does, without waiting."""

    def __init__(self, zero_copy: bool) -> None:
        self.book = _Book()
        self.mover = Mover(Pool(SHARED, zero_copy), self.book, time.monotonic())

    def settle(self) -> None:
        """Until epoll has nothing to say: a thread would sleep now."""
        for _ in range(1000):
            events = self.mover.epoll.poll(0)
            if not events:
                return
            self.mover.handle(events, lambda fd, mask: None)
            self.mover.reap()
        raise AssertionError(f"epoll says {self.mover.epoll.poll(0)} again and again")

    def until(self, condition: Callable[[], object], what: str) -> None:
        def settled() -> object:
            self.settle()
            return condition()

        eventually(settled, what)

    def block(self, link: Link, far: socket.socket) -> int:
        flow, sent = link.flow_from(far), 0
        while flow.held is None:
            sent += fill(far, BLOB[sent:])
            self.settle()
        return sent

    def end_of(self, link: Link) -> End:
        self.until(lambda: link.session.about in self.book.ends, "the session has ended")
        (end,) = self.book.ends[link.session.about]
        return end

    def close(self) -> None:
        for session in self.mover.sessions():
            self.mover.end(session, End.SERVER_RESET)
        self.mover.reap()
        self.mover.close()


@contextmanager
def driven(zero_copy: bool, room: int | None = SMALL) -> Iterator[tuple[Driver, Link]]:
    driver, link = Driver(zero_copy), Link.make(room)
    driver.mover.adopt(link.session)
    try:
        yield driver, link
    finally:
        driver.close()
        link.close()


@both_conduits
@pytest.mark.parametrize("reader_ends", [False, True])
@pytest.mark.parametrize("by_client", [False, True])
def test_nothing_spins_while_an_ended_session_still_holds_bytes(
    zero_copy: bool, reader_ends: bool, by_client: bool
) -> None:
    with driven(zero_copy) as (driver, link):
        sender, reader = (link.client, link.server) if by_client else (link.server, link.client)
        sent = driver.block(link, sender)
        sender.shutdown(socket.SHUT_WR)
        if reader_ends:
            reader.shutdown(socket.SHUT_WR)
            driver.until(lambda: link.flow_from(reader).state is State.SHUT, "the end was passed on")
            assert sender.recv(1) == b""
        driver.settle()
        received = bytearray()
        while len(received) < sent:
            received += reader.recv(64 << 10)
            driver.settle()
        driver.until(lambda: link.flow_from(sender).state is State.SHUT, "the end was passed on")
        assert digest(received) == digest(BLOB[:sent])
        assert reader.recv(1) == b""
        reader.close()
        assert driver.end_of(link) is End.CLOSED


@both_conduits
def test_an_idle_session_holds_no_conduit(zero_copy: bool) -> None:
    with driven(zero_copy) as (driver, link):
        driver.block(link, link.client)
        link.client.shutdown(socket.SHUT_WR)
        while link.session.up.state is not State.SHUT:
            link.server.recv(64 << 10)
            driver.settle()
        assert link.session.up.held is link.session.down.held is None


def _say_before(driver: Driver, link: Link) -> None:
    link.client.sendall(b"x")
    driver.mover.adopt(link.session)


def _say_and_end(driver: Driver, link: Link) -> None:
    driver.mover.adopt(link.session)
    link.client.sendall(b"x")
    link.client.shutdown(socket.SHUT_WR)


def _say_after_urgent_data(driver: Driver, link: Link) -> None:
    driver.mover.adopt(link.session)
    link.client.send(b"!", socket.MSG_OOB)
    link.client.sendall(b"x")


def _say(driver: Driver, link: Link) -> None:
    driver.mover.adopt(link.session)
    link.client.sendall(b"x")


@both_conduits
@pytest.mark.parametrize("says", [_say, _say_before, _say_and_end, _say_after_urgent_data])
def test_what_is_said_is_activity_however_it_comes(zero_copy: bool, says: Callable[[Driver, Link], None]) -> None:
    driver, link = Driver(zero_copy), Link.make()
    try:
        driver.mover.now += 5.0
        says(driver, link)
        driver.until(lambda: link.session.up.moved, "it is moved")
        assert link.session.moved_at == link.session.up.first_at == driver.mover.now
    finally:
        driver.close()
        link.close()


@both_conduits
def test_what_is_taken_of_held_back_bytes_is_activity(zero_copy: bool) -> None:
    """A slow reader is not idle, one that reads nothing is."""
    with driven(zero_copy) as (driver, link):

        def some_are_taken() -> bool:
            driver.block(link, link.client)
            conduit = link.session.up.held
            assert conduit is not None
            before = conduit.held
            driver.mover.now += 1.0
            driver.mover.woken(link.session.down, select.EPOLLOUT)
            taken = conduit.held < before
            assert (link.session.moved_at == driver.mover.now) == taken
            return taken

        eventually(lambda: not some_are_taken(), "the reader has room for no more")
        assert link.server.recv(64 << 10)
        eventually(some_are_taken, "there is room again")


@both_conduits
def test_what_follows_urgent_data_arrives_and_nothing_spins(zero_copy: bool) -> None:
    """The urgent byte itself is out of band, and stays behind."""
    with driven(zero_copy) as (driver, link):
        link.client.sendall(b"before")
        link.client.send(b"!", socket.MSG_OOB)
        link.client.sendall(b"after")
        driver.until(lambda: link.session.up.moved == len("beforeafter"), "all was read")
        link.client.shutdown(socket.SHUT_WR)
        driver.until(lambda: link.session.up.state is State.SHUT, "the end was passed on")
        assert read_to_the_end(link.server) == b"beforeafter"


@both_conduits
def test_what_follows_urgent_data_is_not_lost_at_the_end(zero_copy: bool) -> None:
    with driven(zero_copy) as (driver, link):
        link.client.send(b"!", socket.MSG_OOB)
        link.client.sendall(BLOB[:10_000])
        link.client.shutdown(socket.SHUT_WR)
        driver.until(lambda: link.session.up.state is State.SHUT, "the end was passed on")
        assert digest(read_to_the_end(link.server)) == digest(BLOB[:10_000])


@both_conduits
def test_an_event_that_is_older_than_the_reset_does_no_harm(zero_copy: bool) -> None:
    """Between the poll and its events being handled the client resets: the server must see nothing but a reset."""
    with driven(zero_copy) as (driver, link):
        driver.block(link, link.server)
        link.client.sendall(b"more")
        reset(link.client)
        eventually(lambda: _is_reset(link.session.client.fileno()), "the reset has come")
        driver.mover.woken(link.session.up, select.EPOLLIN | select.EPOLLOUT)
        driver.mover.reap()
        assert driver.end_of(link) is End.CLIENT_RESET
        assert link.session.up.moved == driver.book.up[link.session.about]
        with pytest.raises(ConnectionResetError):
            read_to_the_end(link.server)


def _is_reset(fd: int) -> bool:
    with select.epoll() as epoll:
        epoll.register(fd, 0)
        return any(mask & select.EPOLLERR for _, mask in epoll.poll(0))


class _Session(RuleBasedStateMachine):
    """Two far ends that do what they like, one thing at a time; after each the mover settles."""

    zero_copy = True

    @initialize()
    def open(self) -> None:
        self.driver, self.link = Driver(self.zero_copy), Link.make(SMALL)
        self.driver.mover.adopt(self.link.session)
        self.fars = (self.link.client, self.link.server)
        self.sent = [0, 0]
        self.received = [bytearray(), bytearray()]
        self.ended = [False, False]
        self.reset_by: int | None = None

    def living(self) -> bool:
        return self.reset_by is None

    @precondition(living)
    @rule(far=st.integers(0, 1), size=st.integers(1, 400_000))
    def send(self, far: int, size: int) -> None:
        if not self.ended[far]:
            at = self.sent[far]
            self.sent[far] += fill(self.fars[far], BLOB[at : at + size])
            self.driver.settle()

    @precondition(living)
    @rule(far=st.integers(0, 1), size=st.integers(1, 400_000))
    def read(self, far: int, size: int) -> None:
        self.fars[far].setblocking(False)
        try:
            while size > 0 and (piece := self.fars[far].recv(size)):
                self.received[far] += piece
                size -= len(piece)
                self.driver.settle()
        except BlockingIOError:
            pass

    @precondition(living)
    @rule(far=st.integers(0, 1))
    def end(self, far: int) -> None:
        if not self.ended[far]:
            self.fars[far].shutdown(socket.SHUT_WR)
            self.ended[far] = True
            self.driver.settle()

    @precondition(living)
    @rule(far=st.integers(0, 1))
    def reset(self, far: int) -> None:
        if not self.ended[far]:
            reset(self.fars[far])
            self.reset_by = far
            self.driver.settle()

    @rule()
    def settle(self) -> None:
        self.driver.settle()

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        try:
            if self.reset_by is None:
                self.finish()
            else:
                self.see_the_reset(self.reset_by)
            assert not self.driver.mover.flows
        finally:
            self.driver.close()
            self.link.close()

    def finish(self) -> None:
        """Both ends are let come to their end, and all that was sent must come."""
        for far in (0, 1):
            self.end(far)
        open_ends = {0, 1}

        def drained() -> bool:
            for far in tuple(open_ends):
                try:
                    piece = self.fars[far].recv(64 << 10)
                except BlockingIOError:
                    continue
                self.received[far] += piece
                if not piece:
                    open_ends.discard(far)
            return not open_ends

        for sock in self.fars:
            sock.setblocking(False)
        self.driver.until(drained, "both ends came")
        assert self.driver.end_of(self.link) is End.CLOSED
        for far in (0, 1):
            assert digest(self.received[far]) == digest(BLOB[: self.sent[1 - far]])
        about = self.link.session.about
        assert [self.driver.book.up[about], self.driver.book.down[about]] == self.sent

    def see_the_reset(self, by: int) -> None:
        other = self.fars[1 - by]
        assert self.driver.end_of(self.link) is (End.SERVER_RESET if by else End.CLIENT_RESET)
        other.settimeout(30)
        with pytest.raises(ConnectionResetError):
            read_to_the_end(other, self.received[1 - by])
        assert BLOB[: self.sent[by]].startswith(self.received[1 - by])


class _CopyingSession(_Session):
    zero_copy = False


TestSession = _Session.TestCase
TestSession.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestCopyingSession = _CopyingSession.TestCase
TestCopyingSession.settings = TestSession.settings


@both_conduits
@pytest.mark.parametrize("mask", [select.EPOLLIN, select.EPOLLPRI, select.EPOLLIN | select.EPOLLRDHUP])
def test_an_event_that_is_older_than_the_state_moves_nothing_past_what_is_held(zero_copy: bool, mask: int) -> None:
    """A session that was to go elsewhere is taken back, reads at once, and then its event of the same poll comes."""
    with driven(zero_copy) as (driver, link):
        sent = driver.block(link, link.client)
        more = fill(link.client, BLOB[sent:])
        received = bytearray(link.server.recv(sent))
        driver.mover.handle([(link.session.up.src, mask)], lambda fd, mask: None)
        while len(received) < sent + more:
            driver.settle()
            received += link.server.recv(64 << 10)
        assert digest(received) == digest(BLOB[: sent + more])
        assert driver.mover.holds(link.session.up)
