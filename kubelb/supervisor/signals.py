"""Signals as things to read: a handler-free wake-up descriptor for the supervisor's loop.

Python's own C-level handler writes each signal's number to the pipe. Signals are blocked around a fork, so that
none reaches a child that still has the supervisor's handlers and would swallow it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

FAST = (signal.SIGTERM, signal.SIGINT)
GRACEFUL = signal.SIGQUIT
RELOAD = signal.SIGHUP
REOPEN = signal.SIGUSR1
UPGRADE = signal.SIGUSR2
_HEARD = (*FAST, GRACEFUL, RELOAD, REOPEN, UPGRADE, signal.SIGCHLD)


class SignalPipe:
    """Owns both ends of its pipe. For the main thread of the supervisor."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _HEARD:
            signal.signal(number, lambda number, frame: None)

    def fileno(self) -> int:
        return self._read

    def receive(self) -> list[int]:
        """The signals that have come, in order."""
        try:
            return list(os.read(self._read, 256))
        except BlockingIOError:
            return []

    def forget(self) -> None:
        """In a child: TERM ends it at once, what a terminal sends to the whole group is the supervisor's affair."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, GRACEFUL, RELOAD, REOPEN, UPGRADE):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def blocked() -> Iterator[None]:
    """No signal is delivered within."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
