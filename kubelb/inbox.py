"""Calls that other threads post to one that polls descriptors: an eventfd wakes it, and it makes them in order.

(The self-pipe of D. J. Bernstein; waitress calls it a trigger.) Whoever makes the inbox owns its descriptor.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from kubelb import log

Call = Callable[[], None]


class Inbox:
    """Poll :meth:`fileno` for reading, and :meth:`run` when there is something."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._wakeup

    def post(self, call: Call) -> None:
        """From any thread: have ``call`` made by the one that polls, soon."""
        self._calls.append(call)
        os.eventfd_write(self._wakeup, 1)

    def run(self) -> None:
        """Make the calls posted so far; those that they post come next time, so that descriptors get their turn."""
        os.eventfd_read(self._wakeup)
        for _ in range(len(self._calls)):
            contained(self._calls.popleft())

    def close(self) -> None:
        os.close(self._wakeup)


def contained(call: Call) -> None:
    """Make the call; a fault of our own in it is logged, and keeps nothing else from being done."""
    try:
        call()
    except Exception:
        log.limited().exception("internal_error")
