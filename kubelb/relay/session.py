"""A client connection paired with its server connection: two flows, two sockets, what is counted of them.

Whoever holds a session, one relay thread at a time, owns both its sockets and the conduits its flows hold.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from socket import SocketType
from typing import Protocol

from kubelb.relay.conduit import Conduit
from kubelb.relay.flow import State
from kubelb.stats import Count

_NO_LINGER = struct.pack("ii", 1, 0)


Options = tuple[tuple[int, int, int], ...]
"""What :meth:`socket.socket.setsockopt` takes, for one option after the other."""


class End(Enum):
    """Why a session ended, and how that is counted."""

    CLOSED = "closed", Count.CLOSED
    """Both sides had ended."""
    CLIENT_RESET = "client_reset", Count.CLIENT_RESETS
    SERVER_RESET = "server_reset", Count.SERVER_RESETS
    IDLE = "idle", Count.IDLED
    CUT = "cut", Count.CUTS
    """By us, with a reset to both sides: the server is down, or has drained for long enough."""
    REBALANCED = "rebalanced", Count.REBALANCED
    """By us, cleanly, so that the client dials again."""
    INTERNAL = "internal", Count.INTERNAL
    """By us, with a reset to both sides: a limit or a fault of our own has struck it."""

    def __init__(self, word: str, counted_as: int) -> None:
        self.word = word
        self.counted_as = counted_as
        self.is_reset = word in ("client_reset", "server_reset", "cut", "internal")


def reset_on_close(sock: SocketType) -> None:
    """Have the socket's close send a reset, never an orderly end (SO_LINGER of 0 seconds, socket(7))."""
    with suppress(OSError):  # It is closed then as it can be.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def close(sock: SocketType) -> None:
    """Raises nothing: a descriptor is gone whatever close(2) says."""
    with suppress(OSError):
        sock.close()


def _queued(sock: SocketType) -> int:
    """Bytes that the kernel keeps for it, in both directions."""
    queues = (termios.FIONREAD, termios.TIOCOUTQ)
    return sum(int.from_bytes(fcntl.ioctl(sock.fileno(), queue, bytes(4)), sys.byteorder) for queue in queues)


class Ledger(Protocol):
    """Who keeps the books: told by the thread that holds a session, between its steps."""

    def moved(self, session: Session) -> None:
        """Bytes may have moved: see :meth:`Session.uncounted`. About once a second while anything moves."""

    def ended(self, session: Session, end: End) -> None:
        """Over, and what it moved since is to be entered too; its sockets are being closed."""


class Flow:
    """One direction. ``src`` and ``dst`` are file descriptors, ``back`` is the other direction."""

    __slots__ = (
        "back",
        "dst",
        "first_at",
        "held",
        "moved",
        "moved_at",
        "session",
        "src",
        "state",
        "streak",
        "streak_end",
        "unsent",
        "watched",
    )

    back: Flow
    session: Session
    limited = False
    """Whether it is a :class:`LimitedFlow`."""

    def __init__(self, src: int, dst: int, now: float) -> None:
        self.src = src
        self.dst = dst
        self.state = State.OPEN
        self.moved = 0
        """Bytes read."""
        self.moved_at = now
        """Seconds of the monotonic clock."""
        self.first_at: float | None = None
        """When the source first said something, or ended; None: it has not yet."""
        self.streak = 0
        """How many steps in a row moved all that a step can; the last of them ended at ``streak_end``."""
        self.streak_end = 0
        self.unsent = 0
        """Of the bytes read, how many the destination never got; known at the end."""
        self.held: Conduit | None = None
        """The conduit with the bytes that the destination would not take, while BLOCKED."""
        self.watched = -1
        """What ``src`` is watched for; -1: it is not registered."""


class LimitedFlow(Flow):
    """One that may move only so many bytes a second (:mod:`kubelb.relay.rate`)."""

    __slots__ = ("due", "rate", "wheel_key")

    limited = True

    def __init__(self, src: int, dst: int, now: float, rate: int) -> None:
        super().__init__(src, dst, now)
        self.rate = rate
        self.due = now
        """From when on it may read; seconds of the monotonic clock."""
        self.wheel_key = 0


class Session:
    """``slot`` is the server's column in the shared counters, ``idle_timeout`` in seconds (None: no limit)."""

    __slots__ = (
        "about", "client", "counted", "down", "half_close", "half_close_timeout", "idle_timeout", "lasting",
        "on_first_bytes", "server", "slot", "up", "wheel_key",
    )  # fmt: skip

    def __init__(
        self,
        client: SocketType,
        server: SocketType,
        slot: int,
        now: float,
        idle_timeout: float | None = None,
        about: object = None,
        lasting: Options = (),
        rates: tuple[int, int] = (0, 0),
        half_close: bool = True,
        half_close_timeout: float | None = None,
    ) -> None:
        """Both sockets are non-blocking. ``about`` is the opener's own and comes back with the session's end.

        ``lasting`` are options of the server connection that are set once it has lasted for up to a second: most
        connections do not, and setting them takes as long as connecting. ``rates`` are the bytes a second that may
        move up and down, 0: as they come. Without ``half_close`` the first end of either side is that of both,
        else ``half_close_timeout`` is how many seconds nothing may move after it (None: no limit).
        """
        self.client = client
        self.server = server
        self.slot = slot
        self.idle_timeout = idle_timeout
        self.about = about
        self.lasting = lasting
        self.half_close = half_close
        self.half_close_timeout = half_close_timeout
        self.on_first_bytes: Callable[[Session, bytes], None] | None = None
        """Told once what the client says first, while that is still unmoved; by the relay thread that adopts it, and
        not by a thread of its own. None: nobody wants to know."""
        self.wheel_key = 0
        self.counted = (0, 0)
        """Bytes up and down that are already in the shared counters."""
        ours, theirs = client.fileno(), server.fileno()
        up_rate, down_rate = rates
        self.up = up = LimitedFlow(ours, theirs, now, up_rate) if up_rate else Flow(ours, theirs, now)
        self.down = down = LimitedFlow(theirs, ours, now, down_rate) if down_rate else Flow(theirs, ours, now)
        up.back, down.back = down, up
        up.session = down.session = self

    @property
    def moved_at(self) -> float:
        """When bytes last moved, in either direction."""
        return max(self.up.moved_at, self.down.moved_at)

    @property
    def due(self) -> float | None:
        """When it ends if nothing moves until then; None: never."""
        limit, shorter = self.idle_timeout, self.half_close_timeout
        if shorter is not None and State.SHUT in (self.up.state, self.down.state):
            limit = shorter if limit is None else min(limit, shorter)
        return None if limit is None else self.moved_at + limit

    @property
    def limited(self) -> bool:
        return self.up.limited or self.down.limited

    @property
    def at_rest(self) -> bool:
        """Whether both directions are open and no byte is on its way through. For the thread that holds it.

        None is held, none waits to be read, none still has to reach a peer (SIOCINQ and SIOCOUTQ, tcp(7)).
        """
        flows, sockets = (self.up, self.down), (self.client, self.server)
        return all(flow.state is State.OPEN for flow in flows) and not any(map(_queued, sockets))

    def part(self) -> None:
        """Once it is nobody's: a session and its flows refer to each other; apart, they are freed at once."""
        del self.up.back, self.down.back, self.up.session, self.down.session

    def settle(self) -> None:
        """It lasts. From any thread."""
        lasting, self.lasting = self.lasting, ()
        with suppress(OSError):  # The thread that holds it may have closed the socket.
            for option in lasting:
                self.server.setsockopt(*option)

    def uncounted(self) -> tuple[int, int]:
        """Bytes up and down since the last call; another thread may be moving some meanwhile."""
        up, down = self.counted
        self.counted = now_up, now_down = self.up.moved, self.down.moved
        return now_up - up, now_down - down


Condition = Callable[[Session], bool]
"""Asked by the thread that holds the session."""


def always(session: Session) -> bool:
    return True
