"""Signals as things to read: a descriptor for a loop to wait for.

Python's own C-level handler writes each signal's number to a pipe, at once and on whatever thread. A handler in
Python would wait for the main thread, which may be about to wait itself, for as long as nothing else happens.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import TracebackType

_NUDGE = b"\0"


class SignalPipe:
    """Owns both ends of its pipe. Made and closed on the main thread; a process has one at a time."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        """These only say so from now on, and interrupt nothing."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda _number, _frame: None) for number in numbers}

    def fileno(self) -> int:
        return self._read

    def nudge(self) -> None:
        """From any thread: become readable without a signal."""
        os.write(self._write, _NUDGE)

    def receive(self) -> list[int]:
        """The signals that have come, in order; a nudge is a 0."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """The signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def __enter__(self) -> SignalPipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
