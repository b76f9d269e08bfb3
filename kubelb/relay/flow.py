"""One direction of a session: its states and what its socket is watched for; pure.

A flow is OPEN while it reads, BLOCKED while bytes it has read cannot be written, RESTING while it has moved as much
as its rate allows, SHUT once its source has ended and the end was passed on. It reads only with nothing held back, so
the end of the source is always met OPEN:

    ========  =========  ========
    state     event      next
    ========  =========  ========
    OPEN      STUCK      BLOCKED    the destination took less than was read
    OPEN      END        SHUT       end of file from the source
    BLOCKED   DRAINED    OPEN       the destination took the rest
    OPEN      SPENT      RESTING    it has read as much as its rate allows for now
    RESTING   DUE        OPEN       it may read again
    ========  =========  ========

A session is over when both its flows are SHUT, or at the first error of either socket.
"""

from __future__ import annotations

from enum import IntEnum

READ = 0x0001 | 0x0002 | 0x2000
"""EPOLLIN, EPOLLPRI and EPOLLRDHUP: bytes, urgent ones, or the end, can be read."""
WRITE = 0x0004
"""EPOLLOUT."""


class State(IntEnum):
    OPEN = 0
    BLOCKED = 1
    SHUT = 2
    RESTING = 3


class Event(IntEnum):
    STUCK = 0
    DRAINED = 1
    END = 2
    SPENT = 3
    DUE = 4


_NEXT = {
    (State.OPEN, Event.STUCK): State.BLOCKED,
    (State.OPEN, Event.END): State.SHUT,
    (State.BLOCKED, Event.DRAINED): State.OPEN,
    (State.OPEN, Event.SPENT): State.RESTING,
    (State.RESTING, Event.DUE): State.OPEN,
}


_READS = {State.OPEN: READ}
_WRITES = {State.BLOCKED: WRITE}
INTEREST = [[_READS.get(out, 0) | _WRITES.get(into, 0) for into in State] for out in State]
"""What a socket is watched for: by the state of the flow that reads it, and then of the one that writes it."""


def after(state: State, event: Event) -> State:
    """Raises :class:`KeyError` for an event that cannot happen in that state."""
    return _NEXT[state, event]
