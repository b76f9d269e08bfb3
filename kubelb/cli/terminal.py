"""The operator's terminal while a command has all of it: single keys, its size, its signals; afterwards as it was.

Runs on the command's main thread. The descriptors of the terminal stay those of the process's standard streams.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kubelb.cli.stopping import STOP
from kubelb.cli.top_model import keys
from kubelb.signals import SignalPipe

_SIGNALS = (*STOP, signal.SIGWINCH, signal.SIGTSTP)


@dataclass(frozen=True)
class Heard:
    """What has happened since the last time."""

    keys: tuple[str, ...] = ()
    stop: bool = False
    """A signal asked for it, or the terminal is gone."""
    suspend: bool = False


class Terminal:
    def __init__(self, signals: SignalPipe) -> None:
        self._signals = signals
        self._typed = b""
        self._poll = select.poll()
        self._poll.register(signals, select.POLLIN)
        self._poll.register(sys.stdin.fileno(), select.POLLIN)

    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 and 24 where it does not know."""
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        return columns or 80, lines or 24

    def nudge(self) -> None:
        """From any thread: have :meth:`wait` return."""
        self._signals.nudge()

    def wait(self) -> Heard:
        """Until something happens: a key, a signal, another size, a nudge."""
        ready = {fd for fd, _ in self._poll.poll()}
        numbers = self._signals.receive()
        typed: list[str] = []
        gone = False
        if sys.stdin.fileno() in ready:
            data = _read_terminal()
            gone = not data
            typed, self._typed = keys(self._typed + data)
        stop = gone or any(number in numbers for number in STOP)
        return Heard(tuple(typed), stop, signal.SIGTSTP in numbers)

    @contextmanager
    def single_keys(self) -> Iterator[None]:
        """Within, keys are read as they are pressed, and are not shown."""
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin, termios.TCSADRAIN)
        try:
            yield
        finally:
            with suppress(termios.error):  # It may have been hung up.
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def suspend(self) -> None:
        """Stand still as by Ctrl-Z, until the shell has it go on."""
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)


@contextmanager
def terminal() -> Iterator[Terminal]:
    with SignalPipe(_SIGNALS) as signals:
        yield Terminal(signals)


def _read_terminal() -> bytes:
    """Nothing: it has been hung up."""
    try:
        return os.read(sys.stdin.fileno(), 4096)
    except OSError:
        return b""
