"""What is left of a supervisor that was a container's first process, after an upgrade.

The container ends with its first process, so that cannot go: it stays, passes signals on to whoever serves, reaps
what becomes its child that way, and ends with the same exit status when nobody is left.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from kubelb.signals import SignalPipe

FIRST = 1
"""The pid that a container ends with."""


class Init:
    def __init__(self, signals: SignalPipe, pidfile: Path) -> None:
        self._signals = signals
        self._pidfile = pidfile
        self._serving = self._look_up(0)
        self._status = 0

    def run(self) -> int:
        """Until there is no other process any more; the exit status of the last one that served."""
        while self._reap():
            select.select([self._signals], [], [])
            self._serving = self._look_up(self._serving)
            for number in self._signals.receive():
                if number != signal.SIGCHLD and self._serving:
                    with suppress(ProcessLookupError):
                        os.kill(self._serving, number)
        return self._status

    def _look_up(self, otherwise: int) -> int:
        """Who serves: after another upgrade another one, and nobody in the moment of its end."""
        try:
            return int(self._pidfile.read_text())
        except (FileNotFoundError, ValueError):
            return otherwise

    def _reap(self) -> bool:
        """Whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._serving:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
