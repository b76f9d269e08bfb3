"""Ctrl-C, TERM and HUP as something a command that shows things waits for between two looks."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Whether a stop was asked for."""

    def __init__(self, fd: int) -> None:
        """``fd`` becomes readable with it, and stays the caller's."""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """True at once when it was, or as soon as it is; False after so long."""
        return bool(self._poll.poll(max(0.0, seconds) * 1000))


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Within, those signals only say so, and interrupt nothing. For the main thread."""
    with signal_pipe(STOP) as (read, _):
        yield Stopping(read)


@contextmanager
def signal_pipe(numbers: Iterable[signal.Signals]) -> Iterator[tuple[int, int]]:
    """Within, those signals only write their number, a byte, into a non-blocking pipe: its two ends.

    For the main thread; others may write there too.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        for number in numbers:
            before[number] = signal.signal(number, lambda _number, _frame: None)
        yield read, write
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(read)
        os.close(write)
