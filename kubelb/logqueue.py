"""The queue of log lines: what all processes have to say goes through it to the one that writes the log.

The supervisor makes it, and every process that it forks inherits it: a connected pair of datagram sockets, one for
all who say something, one for the writer. Nobody waits for room in it, so that neither a disk nor a reader of the log
can hold up anybody; a line that finds none is lost, and counted for the writer to tell. A line that is in it is kept
by the kernel, whoever dies. A process closes the end that it has no use for.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import Final

LONGEST: Final = 60 << 10
"""Bytes of a line. The kernel finds room for as much at a time even where memory is scattered."""
_BUFFER: Final = 1 << 20
"""Bytes that the queue is to hold; the kernel may give fewer, and counts a line as some 800 bytes at least."""


class LogQueue:
    """For any thread of any process, but for what only the writer calls."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._writing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._lost = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Lines that are lost and not told of yet: the kernel adds up what all processes count there."""
        self._over, self._alive = socket.socketpair()
        """Nothing is written there: it hangs up when the last process has gone that could say something."""

    def put(self, line: bytes) -> None:
        """At most :data:`LONGEST` bytes; it is lost where there is no room, or no writer any more."""
        try:
            self._writing.send(line, socket.MSG_DONTWAIT)
        except OSError:  # Whatever it is, it must not keep the caller from its work.
            self.count_lost()

    def wait_for_room(self) -> None:
        """Until three quarters of the queue are free (unix(7) calls it writable then), so that who waits leaves room
        to those who do not; or until there is no writer any more."""
        poll = select.poll()
        poll.register(self._writing, select.POLLOUT)
        poll.poll()

    def count_lost(self, lines: int = 1) -> None:
        with suppress(BlockingIOError):  # There is a bound, which nobody comes to in good faith.
            os.eventfd_write(self._lost, lines)

    def close_writing(self) -> None:
        """Nothing is said by this process any more."""
        self._writing.close()
        self._alive.close()

    # For the writer.

    def fileno(self) -> int:
        """Readable where there is a line."""
        return self._reading.fileno()

    @property
    def losses(self) -> int:
        """A descriptor that is readable where lines are lost and not told of."""
        return self._lost

    def peek(self) -> bytes | None:
        """The first line, which stays where it is; None: there is none."""
        with suppress(BlockingIOError):
            return self._reading.recv(LONGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return None

    def drop(self) -> None:
        """The first line has been written."""
        with suppress(BlockingIOError):
            self._reading.recv(1, socket.MSG_DONTWAIT)

    @property
    def over(self) -> int:
        """A descriptor that is readable once nobody can say anything any more."""
        return self._over.fileno()

    def wait_until_over(self) -> None:
        poll = select.poll()
        poll.register(self._over, select.POLLIN)
        poll.poll()

    def take_lost(self) -> int:
        """How many lines have been lost since this was asked last."""
        with suppress(BlockingIOError):
            return os.eventfd_read(self._lost)
        return 0

    def close_reading(self) -> None:
        """Another process is the writer."""
        self._reading.close()
        self._over.close()

    def close(self) -> None:
        self.close_writing()
        self.close_reading()
        os.close(self._lost)
