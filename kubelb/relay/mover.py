"""Moves the bytes of the sessions it holds, as its epoll says they are ready.

The engine of every relay thread, shared or alone. It runs on the thread that polls it and owns that epoll, the
conduits, and both sockets of each session it holds. The conduit in use is empty whenever an event begins: whatever
fails in the middle of a step ends that session, and what it left in the conduit is thrown away. Watching is
level-triggered, so a step need not empty a socket to be told again, and a flow's sockets are watched anew only when
its state changes.

Sockets of ended sessions are closed by :meth:`Mover.reap`, after all events of one poll: no event of that poll
can then meet a newer session under an old descriptor.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from socket import SocketType
from typing import Final

from kubelb import log
from kubelb.own_limits import EXHAUSTED, own_reason
from kubelb.reasons import number_of
from kubelb.relay import flow as states
from kubelb.relay.copy import CopyBuffer
from kubelb.relay.flow import Event, State
from kubelb.relay.pipes import Pool
from kubelb.relay.rate import due_after, step_size
from kubelb.relay.session import End, Flow, Ledger, LimitedFlow, Session, close, reset_on_close
from kubelb.relay.splice import REFUSALS

_OPEN, _BLOCKED, _SHUT = State.OPEN, State.BLOCKED, State.SHUT
_INTEREST = states.INTEREST
_IN = select.EPOLLIN
_GONE = select.EPOLLERR | select.EPOLLHUP
_LIMITED = select.EPOLLRDNORM
"""Comes with every EPOLLIN of a socket. Limited flows are watched for it, so that no event of theirs is just that."""
_BULK_STREAK = 8
"""Full steps in a row that make a session bulk."""
_FIRST_BYTES: Final = 16384
"""So many of the first bytes of a client are shown to whoever wants to know them, at most."""
_SMALL: Final = 4096
"""Bytes of a buffer that stands in for a conduit that cannot be emptied, until there is a better one."""

Handler = Callable[[int, int], None]
"""Takes a descriptor and what epoll reports of it."""


def register(epoll: select.epoll, fd: int, mask: int) -> None:
    """Have epoll report ``mask`` of a descriptor. Raises :class:`OSError`, and nothing is reported then."""
    try:
        epoll.register(fd, mask)
    except FileExistsError:
        # There was no memory to forget it by. It cannot be modified where it is watched exclusively: epoll_ctl(2).
        epoll.unregister(fd)
        epoll.register(fd, mask)


class Mover:
    """``now``, in seconds of the monotonic clock, is set by the driver before it hands on the events of a poll."""

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        now: float,
        bulk: Callable[[Session], None] = lambda session: None,
        fell_back: Callable[[], None] = lambda: None,
        rest: Callable[[LimitedFlow], None] = lambda flow: None,
        half_closed: Callable[[Session], None] = lambda session: None,
    ) -> None:
        """``bulk`` is told of a session that keeps filling its steps; ``fell_back`` once, when splice is refused;
        ``rest`` of a limited flow that is to :meth:`resume` once it is due; ``half_closed`` of a session of which one
        side has ended."""
        self.epoll = select.epoll()
        self.flows: dict[int, Flow] = {}
        """By the descriptor they read."""
        self.now = now
        self._pool = pool
        self._conduit = pool.take()
        self._ledger = ledger
        self._bulk = bulk
        self._fell_back = fell_back
        self._rest = rest
        self._half_closed = half_closed
        self.closing: list[Session] = []
        """Whose sockets :meth:`reap` closes."""

    def adopt(self, session: Session) -> None:
        """From now on the session is this mover's, also where a limit of our own ends it at once."""
        try:
            self._begin(session)
        except Exception as error:
            self.break_off(session, error)

    def _begin(self, session: Session) -> None:
        up, down = session.up, session.down
        self.flows[up.src], self.flows[down.src] = up, down
        up.watched = down.watched = -1
        if up.limited or down.limited:
            self._rest_again(session)
        elif up.state is _OPEN:
            # Who has just been connected has mostly spoken already: that saves an event.
            self._read(up)
        if self.holds(up):
            self._watch(up)
            self._watch(down)

    def _rest_again(self, session: Session) -> None:
        for flow in (session.up, session.down):
            if isinstance(flow, LimitedFlow) and flow.state is State.RESTING:
                self._rest(flow)

    def release(self, session: Session) -> None:
        """Let go of the session, bytes it holds and all; the caller owns it then.

        Raises :class:`OSError` where epoll does not forget its sockets: it is held still, and has to be ended.
        """
        for flow in (session.up, session.down):
            if flow.watched >= 0:
                self.epoll.unregister(flow.src)
                flow.watched = -1
        for flow in (session.up, session.down):
            del self.flows[flow.src]

    def handle(self, events: list[tuple[int, int]], other: Handler) -> None:
        """The events of one poll; those of descriptors that are no session's go to ``other``.

        A fault or a limit that is our own ends the session or stays with the descriptor it struck, and is logged.
        """
        flows, now = self.flows, self.now
        for fd, mask in events:
            flow = flows.get(fd)
            try:
                if flow is None:
                    other(fd, mask)
                elif mask == _IN and flow.moved and flow.state is _OPEN:
                    # As _read() does it, without the calls: this is where small talk spends its time.
                    conduit = self._conduit
                    try:
                        count = conduit.step(fd, flow.dst)
                    except OSError as error:
                        self._step_failed(flow, error)
                        continue
                    flow.moved += count
                    flow.moved_at = now
                    if conduit.held or count == conduit.size:
                        self._after_step(flow)
                    elif not count:
                        self._read_past_urgent(flow)
                else:
                    self.woken(flow, mask)
            except Exception as error:
                if flow is None:
                    log.limited().exception("internal_error", fd=fd)
                else:
                    self.break_off(flow.session, error)

    def break_off(self, session: Session, error: Exception) -> None:
        """End a session that a limit or a fault of our own has struck, unless it has ended already."""
        if isinstance(error, MemoryError):
            self._tell_broken_off("out of memory")
        elif isinstance(error, OSError) and error.errno in EXHAUSTED:
            self._tell_broken_off(own_reason(number_of(error)))
        else:
            log.limited().exception("internal_error")
        self._empty()
        if session not in self.closing:
            self.end(session, End.INTERNAL)

    def _tell_broken_off(self, reason: str) -> None:
        log.limited().warning("session_broken_off", reason=reason)

    def _empty(self) -> None:
        """What an ended session has left in the conduit is nobody's: no other session may meet it."""
        try:
            self._conduit.discard()
        except OSError:
            self._conduit.close()
            self._conduit = CopyBuffer(_SMALL)

    @property
    def step_size(self) -> int:
        """Bytes that a step moves at most, as things are."""
        return self._conduit.size

    def renew(self) -> None:
        """Between events, now and then: replace a conduit that limits have made small, once there is room again."""
        self._conduit = self._pool.renew(self._conduit)

    def woken(self, flow: Flow, mask: int) -> None:
        """``mask`` is what epoll reports of the flow's source; that may be older than its state, where the session
        was to go elsewhere and has been taken back meanwhile."""
        into = flow.back
        if into.state is _BLOCKED and mask & (states.WRITE | _GONE):
            self._drain(into)
            if not self.holds(flow):
                return
        if flow.limited and flow.state is _OPEN:
            assert isinstance(flow, LimitedFlow)
            self._read_limited(flow)
        elif mask & select.EPOLLPRI and flow.state is _OPEN:
            self._read_past_urgent(flow)
        elif mask & select.EPOLLRDHUP:
            self._read_to_the_end(flow)
        elif flow.state is _OPEN:
            if mask & (_IN | _GONE):
                self._read(flow)
        elif mask & _GONE:
            self._look_after(flow)

    def _read(self, flow: Flow) -> None:
        """Move what the flow's source has. The flow is OPEN."""
        if self._step(flow) == 0:
            self._read_past_urgent(flow)

    def _read_to_the_end(self, flow: Flow) -> None:
        """The end has arrived, so what is before it is all there: no need to wait for another event."""
        while flow.state is _OPEN and (count := self._step(flow)) is not None:
            if count == 0:
                self._shut(flow)
                return
            if not self.holds(flow):
                return

    def _read_past_urgent(self, flow: Flow) -> None:
        """Move what a plain read gives. Splice never gets past TCP's urgent data, and calls it the end before a FIN.

        As in any plain read the urgent byte is left out.
        """
        if self._step_by_copy(flow, self._conduit.size) == 0 and self.holds(flow):
            self._shut(flow)

    def _step_by_copy(self, flow: Flow, size: int) -> int | None:
        spliced, self._conduit = self._conduit, CopyBuffer(size)
        try:
            return self._step(flow)
        finally:
            self._pool.give(self._conduit)
            self._conduit = spliced

    def _read_limited(self, flow: LimitedFlow) -> None:
        """Move what the flow may move now; it rests when that was all for a while."""
        if flow.due <= self.now:
            count = self._step_by_copy(flow, step_size(flow.rate))
            if count == 0 and self.holds(flow):
                self._shut(flow)
            flow.due = due_after(flow.rate, flow.due, self.now, count) if count else flow.due
        if flow.due > self.now and self.holds(flow) and flow.state is _OPEN:
            self._become(flow, Event.SPENT)
            # It is not idle meanwhile: not its fault.
            flow.moved_at = flow.due
            self._rest(flow)

    def resume(self, flow: LimitedFlow) -> None:
        """It is due."""
        try:
            self._become(flow, Event.DUE)
        except OSError as error:
            self.break_off(flow.session, error)

    def _step(self, flow: Flow) -> int | None:
        """Bytes moved, 0 where the conduit says that the source has ended; None: nothing to read, or it failed."""
        try:
            if not flow.moved:
                self._show_first_bytes(flow)
            count = self._conduit.step(flow.src, flow.dst)
        except OSError as error:
            self._step_failed(flow, error)
            return None
        if not flow.moved:
            flow.first_at = self.now
        flow.moved += count
        flow.moved_at = self.now
        if self._conduit.held or count == self._conduit.size:
            self._after_step(flow)
        return count

    def _show_first_bytes(self, flow: Flow) -> None:
        """Before the first step: tell what a client says to whoever wants to know. Raises what the step would."""
        session = flow.session
        told = session.on_first_bytes
        if told is not None and flow is session.up:
            data = session.client.recv(_FIRST_BYTES, socket.MSG_PEEK)
            session.on_first_bytes = None
            told(session, data)

    def _after_step(self, flow: Flow) -> None:
        """It read more than the destination took, or all that a step can."""
        if self._conduit.held:
            self._block(flow)
        elif self._pool.is_full_sized(self._conduit):
            self._full_step(flow)

    def holds(self, flow: Flow) -> bool:
        return self.flows.get(flow.src) is flow

    def _block(self, flow: Flow) -> None:
        """The flow adopts the conduit with what is in it, and the mover takes another."""
        fresh = self._pool.take()
        flow.held, self._conduit = self._conduit, fresh
        self._become(flow, Event.STUCK)

    def _drain(self, flow: Flow) -> None:
        conduit = flow.held
        assert conduit is not None
        before = conduit.held
        try:
            conduit.drain(flow.dst)
        except OSError as error:
            self._socket_failed(flow.back, error)
            return
        if conduit.held != before:
            flow.moved_at = self.now
        if not conduit.held:
            flow.held = None
            self._pool.give(conduit)
            self._become(flow, Event.DRAINED)

    def _shut(self, flow: Flow) -> None:
        flow.state = states.after(flow.state, Event.END)
        session = flow.session
        if flow.back.state is _SHUT or not session.half_close:
            self.end(session, End.CLOSED)
            return
        try:
            (session.server if flow is session.up else session.client).shutdown(socket.SHUT_WR)
        except OSError as error:
            self._socket_failed(flow.back, error)
        else:
            flow.moved_at = self.now
            self._watch(flow)
            self._half_closed(session)

    def _become(self, flow: Flow, event: Event) -> None:
        flow.state = states.after(flow.state, event)
        self._watch(flow)
        self._watch(flow.back)

    def _watch(self, flow: Flow) -> None:
        wanted = _INTEREST[flow.state][flow.back.state]
        if flow.limited and flow.state is _OPEN:
            wanted |= _LIMITED
        if flow.watched < 0:
            register(self.epoll, flow.src, wanted)
        elif wanted != flow.watched:
            self.epoll.modify(flow.src, wanted)
        flow.watched = wanted

    def _full_step(self, flow: Flow) -> None:
        adjoining = flow.streak_end == flow.moved - self._conduit.size
        flow.streak = flow.streak + 1 if adjoining else 1
        flow.streak_end = flow.moved
        if flow.streak >= _BULK_STREAK:
            flow.streak = 0
            self._bulk(flow.session)

    def _look_after(self, flow: Flow) -> None:
        """Its source reports an error or hang-up while it does not read."""
        source = self._source(flow)
        error = source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and flow.state is _SHUT and source.family == socket.AF_UNIX:
            # It was closed after its end, which TCP does not tell: what it has sent is passed on, none is to come.
            self.end(flow.session, End.CLOSED)
        elif error or flow.state is _SHUT:
            self._reset_by(flow)
        elif flow.watched >= 0:
            # Both ends have ended orderly and only held-back bytes remain: epoll would report that for ever.
            self.epoll.unregister(flow.src)
            flow.watched = -1

    def _step_failed(self, flow: Flow, error: OSError) -> None:
        if isinstance(error, BlockingIOError):
            return
        if error.errno in REFUSALS and self._pool.zero_copy:
            self._stop_splicing(flow)
            return
        written = self._conduit.held > 0
        if written:
            self._empty()
        self._socket_failed(flow.back if written else flow, error)

    def _stop_splicing(self, flow: Flow) -> None:
        self._conduit = self._pool.fall_back(self._conduit)
        self._fell_back()
        if self._conduit.held:
            flow.moved += self._conduit.held
            self._block(flow)
        else:
            self._read(flow)

    def _source(self, flow: Flow) -> SocketType:
        return flow.session.client if flow is flow.session.up else flow.session.server

    def _socket_failed(self, flow: Flow, error: OSError) -> None:
        """The flow's source has: it was reset, unless the node itself lacks something."""
        if error.errno in EXHAUSTED:
            self.break_off(flow.session, error)
        else:
            self._reset_by(flow)

    def _reset_by(self, flow: Flow) -> None:
        """The flow's source has failed: the other side is to see a reset too."""
        session = flow.session
        self.end(session, End.CLIENT_RESET if flow is session.up else End.SERVER_RESET)

    def end(self, session: Session, end: End) -> None:
        """Close both sides: by a reset, unless all that was read was also written, or the session may not be half
        closed and one side has ended: like nginx it then leaves unsaid what the other one had no room for.
        """
        self.closing.append(session)
        cut = end.is_reset
        for flow in (session.up, session.down):
            # One that is broken off while it is being adopted may not be there yet.
            self.flows.pop(flow.src, None)
            if flow.held is not None:
                cut = cut or end is not End.CLOSED
                flow.unsent = flow.held.held
                self._pool.give(flow.held)
                flow.held = None
        if cut:
            for sock in (session.client, session.server):
                reset_on_close(sock)
        self._ledger.ended(session, end)

    def reap(self) -> None:
        """Close the sockets of the sessions that ended since the last call."""
        while self.closing:
            session = self.closing.pop()
            close(session.client)
            close(session.server)
            session.part()

    def sessions(self) -> Iterable[Session]:
        return [flow.session for flow in self.flows.values() if flow is flow.session.up]

    def close(self) -> None:
        """Once no session is held."""
        self._pool.give(self._conduit)
        self._pool.close()
        self.epoll.close()
