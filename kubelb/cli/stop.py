"""``kubelb stop``: have the running proxy end, and wait until it has. Runs in the operator's command.

The supervisor holds a lock on its pid file for as long as it lives (:mod:`kubelb.supervisor.pidfile`), whoever it is
after an upgrade and whatever its number is in another container; its listening sockets are closed before that.
"""

from __future__ import annotations

import fcntl
import math
import sys
import time
from pathlib import Path
from typing import IO

from kubelb.cli import adminclient
from kubelb.config.faults import printable
from kubelb.reasons import reason_of

_PID_FILE = "kubelb.pid"
_PATIENCE = 20.0
"""Seconds that a stop at once may take; after five the supervisor kills what is left of its children."""
_LOOK_EVERY = 0.05
_SAY_EVERY = 2.0


def stop(runtime_dir: Path, gracefully: bool) -> int:
    """The exit status, 0 once it has gone. How many sessions are left is for a terminal only."""
    patience = math.inf if gracefully else _PATIENCE
    try:
        with _pid_file(runtime_dir) as held:
            adminclient.stop(runtime_dir, gracefully)
            _wait(held, runtime_dir, time.monotonic() + patience)
    except adminclient.AdminFault as fault:
        print(printable(f"kubelb stop: {fault}"), file=sys.stderr)
        return 1
    return 0


def _pid_file(runtime_dir: Path) -> IO[bytes]:
    path = runtime_dir / _PID_FILE
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise adminclient.AdminFault(
            f"{path}: no such file; is kubelb running, with this runtime directory?"
        ) from None
    except OSError as error:
        raise adminclient.AdminFault(f"{path}: {reason_of(error)}") from None


def _wait(held: IO[bytes], runtime_dir: Path, deadline: float) -> None:
    progress = _Progress(runtime_dir) if sys.stderr.isatty() else None
    while _is_locked(held):
        if time.monotonic() >= deadline:
            raise adminclient.AdminFault(f"it has not ended for {_PATIENCE:.0f} s")
        if progress is not None:
            progress.show()
        time.sleep(_LOOK_EVERY)


def _is_locked(held: IO[bytes]) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


class _Progress:
    """How many clients are left, a line now and then, if that has changed."""

    def __init__(self, runtime_dir: Path) -> None:
        self._runtime_dir = runtime_dir
        self._shown = 0
        self._due = time.monotonic() + _SAY_EVERY

    def show(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _SAY_EVERY
        try:
            left = adminclient.status(self._runtime_dir, timeout=1.0).clients.active
        except adminclient.AdminFault:
            # It is at its end, or its control process is.
            return
        if left != self._shown:
            self._shown = left
            print(f"{left} session{'' if left == 1 else 's'} left", file=sys.stderr)
