"""Ctrl-C, TERM and HUP as something a command that shows things waits for between two looks."""

from __future__ import annotations

import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from kubelb.signals import SignalPipe

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Whether a stop was asked for."""

    def __init__(self, signals: SignalPipe) -> None:
        self._poll = select.poll()
        self._poll.register(signals, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """True at once when it was, or as soon as it is; False after so long."""
        return bool(self._poll.poll(max(0.0, seconds) * 1000))


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Within, those signals only say so, and interrupt nothing. For the main thread."""
    with SignalPipe(STOP) as signals:
        yield Stopping(signals)
