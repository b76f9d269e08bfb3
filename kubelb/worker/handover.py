"""Live sessions from one relay thread to another, in another process: a worker that leaves gives, others take.

A session goes through the channel between the two as a record and copies of its descriptors: both connections, and
the pipe with what the one side has sent and the other not taken yet. A pass-through relay knows nothing else of a
session, so nobody at its ends notices. Who takes it enters it into the books and says so before it moves a byte;
until then it stays the giver's, who does nothing to it, and who goes on with it if the taker refuses or dies. Used on
relay threads; each end of a channel is its relay thread's.
"""

from __future__ import annotations

import errno
import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Final

from kubelb import log
from kubelb.own_limits import own_reason
from kubelb.reasons import number_of
from kubelb.relay.session import Flow, LimitedFlow, Session, close
from kubelb.relay.thread import RelayThread
from kubelb.wire.channel import Channel, close_all
from kubelb.wire.message_sets import FromGiver, FromTaker
from kubelb.wire.messages import FlowHanded, Handed, Taken
from kubelb.worker.books import Books, Visit
from kubelb.worker.handed import WrongSession, descriptors_of, session_of

_UNDER_WAY = 16
"""Sessions given to one taker and not yet acknowledged: each of them stands still for that moment."""


_PASSING: Final = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""By which a session cannot be sent at the moment. One that descriptors are lacking for stays."""
_SHORTAGE: Final = 0.2
"""Seconds until a session is sent that could not be sent so."""


class Giver:
    """Gives all sessions of a relay thread away, to several takers by turns."""

    def __init__(self, thread: RelayThread, books: Books) -> None:
        self._thread = thread
        self._books = books
        self._waiting: deque[Session] = deque()
        self._takers: list[_Taker] = []
        self._turns: Iterator[_Taker] = iter(())
        self._numbers = 0
        self.wheel_key = 0
        """The relay thread's."""
        self._is_short = False
        """Whether this process was short of something a moment ago: no session is sent until it has passed."""

    def begin(self, channels: Sequence[Channel[FromTaker]]) -> None:
        """To those behind these channels, which are this object's from now on; others get no more.

        More than once where somebody who was to take sessions is gone.
        """
        takers = [taker for taker in map(_Taker, channels) if self._listens(taker)]
        if not takers:
            log.get().warning("sessions_not_handed_over", reason=own_reason(errno.EMFILE), count=self._books.clients)
            return
        before, self._takers = self._takers, takers
        self._turns = cycle(self._takers)
        for taker in before:
            self._drop_idle(taker)
        self._waiting.clear()
        self._thread.hand_over(self._give)

    def _listens(self, taker: _Taker) -> bool:
        """Whether what it says will be heard; it gets no session otherwise."""
        try:
            self._thread.watch(taker.channel.fileno(), select.EPOLLIN, lambda mask: self._told(taker))
        except OSError:
            taker.channel.close()
            return False
        return True

    def _drop_idle(self, taker: _Taker) -> None:
        """One that gets no more, unless it has still to say what it has taken."""
        if taker not in self._takers and not taker.sent:
            self._thread.unwatch(taker.channel.fileno())
            taker.channel.close()

    def _give(self, session: Session) -> None:
        self._waiting.append(session)
        self._go_on()

    def _go_on(self) -> None:
        """Send as many as may be under way."""
        while self._waiting and not self._is_short and (taker := self._next_taker()) is not None:
            session = self._waiting.popleft()
            if self._thread.let_go(session):
                self._send(session, taker)

    def _next_taker(self) -> _Taker | None:
        for _ in self._takers:
            taker = next(self._turns)
            if len(taker.sent) < _UNDER_WAY and not taker.full:
                return taker
        return None

    def _send(self, session: Session, taker: _Taker) -> None:
        session.settle()
        self._numbers += 1
        taker.sent[self._numbers] = session
        fds: list[int] = []
        try:
            if not taker.channel.send(_record(self._numbers, session, fds), fds):
                # It has much to read still, or is gone: its channel tells next.
                taker.full = True
                self._wait(taker.sent.pop(self._numbers))
        except (OSError, MemoryError) as error:
            self._put_off(taker.sent.pop(self._numbers), error)
        finally:
            close_all(fds[2:])

    def _told(self, taker: _Taker) -> None:
        try:
            message = taker.channel.receive()
        except BlockingIOError:
            return
        except Exception:
            self._lose(taker)
            raise
        if message is None:
            self._lose(taker)
        elif isinstance(message, Taken):
            session = taker.sent.pop(message.number)
            taker.full = False
            if message.taken:
                self._given(session)
            else:
                self._keep(session, "it was not taken")
            self._drop_idle(taker)
            self._go_on()

    def _put_off(self, session: Session, error: OSError | MemoryError) -> None:
        """It could not be sent, and is sent later where that passes."""
        if isinstance(error, OSError) and error.errno not in _PASSING:
            self._keep(session, _reason(error))
            return
        log.limited().warning("session_not_handed_over", reason=_reason(error), effect="it is tried again")
        self._wait(session)
        self._is_short = True
        self._thread.set_deadline(self, _SHORTAGE)

    def expired(self) -> None:
        """As the relay thread's deadline: the shortage may have passed."""
        self._is_short = False
        self._go_on()

    def _given(self, session: Session) -> None:
        # Only after this poll's events: one of them may be the socket's, and a new one would get its descriptor.
        self._thread.post(lambda: _let_go(session))
        self._books.given(session)

    def _wait(self, session: Session) -> None:
        """It goes on here until it is sent."""
        self._thread.take_back(session)
        self._waiting.appendleft(session)

    def _keep(self, session: Session, reason: str) -> None:
        """Go on with it here, until it ends."""
        log.limited().warning("session_not_handed_over", reason=reason)
        self._thread.take_back(session)

    def _lose(self, taker: _Taker) -> None:
        """It is gone: whoever is left gets what it has not taken, or we keep that."""
        self._thread.unwatch(taker.channel.fileno())
        taker.channel.close()
        if taker in self._takers:
            self._takers.remove(taker)
            self._turns = cycle(self._takers)
        for session in taker.sent.values():
            self._wait(session)
        if self._takers:
            self._go_on()
            return
        if self._waiting:
            log.get().warning(
                "sessions_not_handed_over", reason="who was to take them is gone", count=len(self._waiting)
            )
        self._thread.hand_over(None)
        self._thread.drop_deadline(self)
        self._is_short = False
        self._waiting.clear()


class _Taker:
    def __init__(self, channel: Channel[FromTaker]) -> None:
        self.channel = channel
        self.sent: dict[int, Session] = {}
        """By their numbers; not yet acknowledged."""
        self.full = False
        """Nothing more goes into its channel before it has read some."""


def _record(number: int, session: Session, fds: list[int]) -> Handed:
    """``fds`` is filled with the descriptors that go along; all but the first two are copies."""
    visit = session.about
    assert isinstance(visit, Visit)
    fds += [session.client.fileno(), session.server.fileno()]
    return Handed(
        number=number,
        slot=session.slot,
        up=_flow_handed(session.up, fds),
        down=_flow_handed(session.down, fds),
        idle_timeout=session.idle_timeout,
        client=visit.client,
        listener=visit.listener,
        server=visit.server,
        opened_at=visit.opened_at,
        opening=visit.opening,
        counted_as=visit.counted_as,
    )


def _flow_handed(flow: Flow, fds: list[int]) -> FlowHanded:
    lent = [] if flow.held is None else flow.held.lend()
    fds += lent
    held = 0 if flow.held is None else flow.held.held
    in_pipe = len(lent) == 2
    rate, due = (flow.rate, flow.due) if isinstance(flow, LimitedFlow) else (0, 0.0)
    return FlowHanded(int(flow.state), flow.moved, flow.moved_at, held, in_pipe, flow.first_at, rate, due)


def _let_go(session: Session) -> None:
    """Close our copies of what is another's now."""
    for flow in (session.up, session.down):
        if flow.held is not None:
            flow.held.close()
    close(session.client)
    close(session.server)
    session.part()


class Taking:
    """Takes the sessions that come through one channel, until its other end is closed."""

    def __init__(
        self, thread: RelayThread, books: Books, channel: Channel[FromGiver], adopt: Callable[[Session], None]
    ) -> None:
        """The channel is this object's from now on; ``adopt`` gets the sessions."""
        self.ended = False
        self._thread = thread
        self._books = books
        self._channel = channel
        self._adopt = adopt
        try:
            thread.watch(channel.fileno(), select.EPOLLIN, self._received)
        except OSError:
            # The giver hears of that, and keeps its sessions.
            channel.close()
            raise

    def _received(self, mask: int) -> None:
        try:
            message, fds = self._channel.receive_with_fds()
        except BlockingIOError:
            return
        except Exception:
            self.end()
            raise
        if message is None:
            self.end()
        elif isinstance(message, Handed):
            self._take(message, fds)

    def _take(self, message: Handed, fds: list[int]) -> None:
        if len(fds) < descriptors_of(message):
            close_all(fds)
            log.limited().warning("session_not_taken", reason=own_reason(errno.EMFILE))
            self._acknowledge(message.number, taken=False)
            return
        try:
            session = session_of(message, fds)
        except WrongSession as fault:
            # The giver is to let go of it, too: nobody can say whose bytes these are.
            log.limited().error("session_broken_off", reason=f"it was handed over wrongly: {fault}")
            self._books.refused(message.slot)
            self._acknowledge(message.number, taken=True)
            return
        except (OSError, MemoryError) as error:
            log.limited().warning("session_not_taken", reason=_reason(error))
            self._acknowledge(message.number, taken=False)
            return
        self._books.taken(session)
        if self._acknowledge(message.number, taken=True):
            self._adopt(session)
        else:
            _let_go(session)
            self._books.given(session)

    def _acknowledge(self, number: int, taken: bool) -> bool:
        """Whether the giver knows, or is gone. Otherwise it takes back what it has sent, once this end is closed."""
        try:
            heard = self._channel.offer(Taken(number, taken)) or self._channel.is_closed_there()
        except OSError:
            heard = False
        if not heard:
            self.end()
        return heard

    def end(self) -> None:
        """Take no more: what has not been taken goes to others. Nothing, where the other end has been closed."""
        if not self.ended:
            self.ended = True
            self._thread.unwatch(self._channel.fileno())
            self._channel.close()


def _reason(error: OSError | MemoryError) -> str:
    return own_reason(number_of(error)) if isinstance(error, OSError) else "out of memory"
