"""A relay thread: one epoll, many sessions, and whatever else its worker does without waiting.

Everything that happens on it happens between two polls: steps of sessions, handlers of other descriptors
(listening sockets, dials under way), deadlines, and calls posted by other threads. It owns its mover's sessions
and its inbox. A session that turns bulk is lent to a thread of its own (:mod:`kubelb.relay.alone`)
and comes back when it goes quiet; its accounts stay here.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from typing import Protocol

from kubelb import log
from kubelb.deadlines import BEAT
from kubelb.inbox import Inbox, contained
from kubelb.own_limits import EXHAUSTED
from kubelb.relay.alone import Alone
from kubelb.relay.mover import Mover, register
from kubelb.relay.pipes import SHARED, Pool
from kubelb.relay.session import Condition, End, Ledger, LimitedFlow, Session, always
from kubelb.relay.wheel import Wheel

_EVENTS = 32
"""Events taken from one poll at most."""
_COUNTING = 1.0
"""Seconds between two entries into the books."""
_ALONE = 64
"""Bulk sessions that have a thread of their own at the same time, at most."""

_NEVER = math.inf

Handler = Callable[[int], None]
"""Called with what epoll reports."""


class Waiting(Protocol):
    """What can have a deadline on a relay thread."""

    wheel_key: int

    def expired(self) -> None: ...


class RelayThread:
    """Made anywhere; from :meth:`run` on all but :meth:`post` and :meth:`stop` is for its own thread only."""

    def __init__(
        self,
        ledger: Ledger,
        zero_copy: bool = True,
        share: bool = True,
        alone_cpus: Collection[int] | None = None,
    ) -> None:
        """``share``: sessions share this thread; else each gets one of its own.

        ``alone_cpus``: where threads of a single session may run, if not where this one may.
        """
        self._ledger = ledger
        self._share = share
        self._alone_cpus = alone_cpus
        self.now = time.monotonic()
        """Seconds of the monotonic clock, as of the last poll."""
        self._mover = Mover(
            Pool(SHARED, zero_copy),
            self,
            self.now,
            bulk=self._lend_bulk,
            fell_back=self._fell_back,
            rest=self._rest,
            half_closed=self._set_due,
        )
        self._zero_copy = zero_copy
        self._handlers: dict[int, Handler] = {}
        self._wheel: Wheel[Session | LimitedFlow | Waiting] = Wheel()
        self._lent: dict[Session, Alone] = {}
        self._heir: Callable[[Session], None] | None = None
        self._inbox = Inbox()
        self._moving = False
        self._count_at = _NEVER
        self._look_at = self.now
        self._stopped = False
        self.busy = False
        """Whether the last poll found several things to do."""
        self.changed: Callable[[], None] = lambda: None
        """Called when :attr:`splices` or :attr:`alone` has changed."""
        self.beat: Callable[[], None] = lambda: None
        """Called every two seconds: the thread does its work."""
        self.stirred: Callable[[], None] = lambda: None
        """Called when :attr:`moving` becomes true."""
        self._beat_at = self.now
        self.watch(self._inbox.fileno(), select.EPOLLIN, lambda mask: self._inbox.run())

    @property
    def splices(self) -> bool:
        """Whether bytes are moved by splice(2); else they are copied."""
        return self._zero_copy

    @property
    def alone(self) -> int:
        """How many sessions have a thread of their own."""
        return len(self._lent)

    @property
    def moving(self) -> bool:
        """Whether bytes may have moved since they were last counted, which is once a second."""
        return self._moving

    def adopt(self, session: Session) -> None:
        """From now on the session and its sockets are this thread's."""
        self.take_back(session)
        if self._heir is not None:
            self._heir(session)

    def take_back(self, session: Session) -> None:
        """As :meth:`adopt`, for one that :meth:`let_go` has given."""
        self._set_due(session)
        if self._shares(session) or not self._lend(session, returns=False):
            self._mover.adopt(session)

    def _set_due(self, session: Session) -> None:
        due = session.due
        if due is not None:
            self._put(session, due)

    def _shares(self, session: Session) -> bool:
        return self._share or session.limited or self._heir is not None

    def hand_over(self, heir: Callable[[Session], None] | None) -> None:
        """Tell ``heir`` of all sessions, and of those that are still to come: he may have each of them whenever he
        wants (:meth:`let_go`), and until then it goes on here. None: tell nobody any more.

        Of one with a thread of its own he hears once that thread has given it back.
        """
        self._heir = heir
        if heir is None:
            return
        for alone in self._lent.values():
            alone.recall()
        for session in self._mover.sessions():
            heir(session)

    def holds(self, session: Session) -> bool:
        """Whether it is here, and not lent to a thread of its own."""
        return self._mover.holds(session.up)

    def let_go(self, session: Session) -> bool:
        """Whether the session is still there; it is the caller's then, and what it moved here is in the books."""
        if not self.holds(session):
            return False
        try:
            self._mover.release(session)
        except OSError as error:
            self._mover.break_off(session, error)
            return False
        self._drop_deadlines(session)
        self._ledger.moved(session)
        return True

    def sessions(self, bulk: bool = True) -> list[Session]:
        """All it answers for; ``bulk``: those too that have a thread of their own until they go quiet."""
        lent = (session for session, alone in self._lent.items() if bulk or not alone.returns)
        return [*self._mover.sessions(), *lent]

    def some_sessions(self, first: int, count: int) -> tuple[list[Session], int]:
        """Those in the next ``count`` places, and the place to go on from; 0: these were the last.

        A session has two places, or one where it has a thread of its own. All have had their turn between two zeros,
        but for those that the end of others has moved to places from before ``first``.
        """
        held, lent, beyond = self._mover.flows, self._lent, first + count
        shared = islice(held.values(), first, beyond)
        found = [flow.session for flow in shared if flow is flow.session.up]
        found += islice(lent, max(0, first - len(held)), max(0, beyond - len(held)))
        return found, beyond if beyond < len(held) + len(lent) else 0

    def end(self, session: Session, end: End, when: Condition = always) -> bool:
        """End a session, unless it has ended already: by the thread that holds it, and if ``when`` says so there.

        Whether it has; one with a thread of its own: whether it is being asked for.
        """
        alone = self._lent.get(session)
        if alone is not None:
            alone.ask(end, when)
            return True
        if not self._mover.holds(session.up) or not when(session):
            return False
        self._mover.end(session, end)
        return True

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Call ``handler`` whenever epoll reports something of ``fd``, which stays the caller's.

        Raises :class:`OSError` where the kernel has no room for that, and nothing is watched then.
        """
        register(self._mover.epoll, fd, mask)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Nothing, where it is not watched.

        Where the kernel has no memory to forget it, what it reports is passed over until ``fd`` is closed, or
        watched anew.
        """
        if self._handlers.pop(fd, None) is None:
            return
        try:
            self._mover.epoll.unregister(fd)
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise

    def set_deadline(self, entry: Waiting, seconds: float) -> None:
        """In place of the one that it has, if any."""
        self._put(entry, self.now + seconds)

    def _put(self, entry: Session | LimitedFlow | Waiting, deadline: float) -> None:
        self._wheel.put(entry, deadline, self.now)
        self._look_at = min(self._look_at, deadline)

    def drop_deadline(self, entry: Waiting) -> None:
        self._wheel.discard(entry)

    def post(self, call: Callable[[], None]) -> None:
        """From any thread: have ``call`` run on this one, soon."""
        self._inbox.post(call)

    def stop(self) -> None:
        """From any thread: have :meth:`run` return."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        """Until :meth:`stop`."""
        mover, poll, monotonic, handle = self._mover, self._mover.epoll.poll, time.monotonic, self._handle
        now = self.now
        while not self._stopped:
            events = poll(max(0.0, self._look_at - now), _EVENTS)
            self.now = mover.now = now = monotonic()
            self.busy = len(events) > 1
            mover.handle(events, handle)
            if events and not self._moving:
                self._begin_moving()
            if mover.closing:
                mover.reap()
            if now >= self._look_at:
                self._keep_time()

    def _handle(self, fd: int, mask: int) -> None:
        """An event of a watched descriptor, unless an earlier one of the same poll has unwatched it."""
        if fd in self._handlers:
            self._handlers[fd](mask)

    def _begin_moving(self) -> None:
        self._moving = True
        self._count_at = self.now + _COUNTING
        self._look_at = min(self._look_at, self._count_at)
        self.stirred()

    def _keep_time(self) -> None:
        """Do what is due, and find out when the next thing is."""
        now = self.now
        if now >= self._beat_at:
            self.beat()
            self._beat_at = now + BEAT
        if now >= self._count_at:
            self._count(now)
        for entry in self._wheel.due(now):
            contained(partial(self._expired, entry))
        self._mover.reap()
        self._look_at = min(self._wheel.next_due() or _NEVER, self._count_at, self._beat_at)

    def _expired(self, entry: Session | LimitedFlow | Waiting) -> None:
        if isinstance(entry, Session):
            self._maybe_idle(entry)
        elif isinstance(entry, LimitedFlow):
            self._mover.resume(entry)
        else:
            entry.expired()

    def _rest(self, flow: LimitedFlow) -> None:
        self._put(flow, flow.due)

    def _drop_deadlines(self, session: Session) -> None:
        """It is not this thread's any more."""
        self._wheel.discard(session)
        if session.limited:
            for flow in (session.up, session.down):
                if isinstance(flow, LimitedFlow):
                    self._wheel.discard(flow)

    def _count(self, now: float) -> None:
        """Enter into the books what moved; as long as something does, again in a while."""
        for session in self.sessions():
            session.settle()
            self._ledger.moved(session)
        self._mover.renew()
        self._moving = bool(self._lent)
        self._count_at = now + _COUNTING if self._lent else _NEVER

    def _maybe_idle(self, session: Session) -> None:
        deadline = session.due
        assert deadline is not None
        if deadline > self.now or session in self._lent:
            self._wheel.put(session, max(deadline, self.now + 1 / 64), self.now)
        else:
            self._mover.end(session, End.IDLE)

    def moved(self, session: Session) -> None:
        """As the mover's ledger."""
        self._ledger.moved(session)

    def ended(self, session: Session, end: End) -> None:
        """As the mover's ledger."""
        self._drop_deadlines(session)
        self._ledger.ended(session, end)

    def _lend_bulk(self, session: Session) -> None:
        if len(self._lent) < _ALONE and not session.limited and self._heir is None:
            self._lend(session, returns=True)

    def _lend(self, session: Session, returns: bool) -> bool:
        """Give the session a thread of its own, if there are descriptors and memory for one."""
        session.on_first_bytes = None
        try:
            thread = Alone(session, self._zero_copy, returns, lambda: self.post(self._fell_back))
        except (OSError, MemoryError):
            return False
        if returns and thread.step_size < SHARED.step:
            # It would be slower there.
            thread.close()
            return False
        held = self._mover.holds(session.up)
        try:
            if held:
                self._mover.release(session)
        except OSError:
            thread.close()
            raise
        try:
            thread.start(self._taken_back, self._lent_ended, self.post, self._alone_cpus)
        except (RuntimeError, MemoryError):
            thread.close()
            if held:
                self._mover.adopt(session)
            return False
        self._lent[session] = thread
        self.changed()
        return True

    def _taken_back(self, session: Session) -> None:
        alone = self._lent.pop(session)
        alone.close()
        self.changed()
        self._set_due(session)
        self._mover.adopt(session)
        for end, when in alone.asked:
            self.end(session, end, when)
        if self._heir is not None:
            self._heir(session)

    def _lent_ended(self, session: Session, end: End) -> None:
        self._lent.pop(session).close()
        self.changed()
        self.ended(session, end)

    def _fell_back(self) -> None:
        """Here, or on a session's own thread: said once."""
        if self._zero_copy:
            self._zero_copy = False
            self.changed()
            log.get().warning("splice_refused", effect="bytes are copied instead")

    def close(self) -> None:
        """After :meth:`run`: give back the descriptors. Sessions still held are cut."""
        for session in self._mover.sessions():
            self._mover.end(session, End.SERVER_RESET)
        self._mover.reap()
        self._mover.close()
        self._inbox.close()
