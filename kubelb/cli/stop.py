"""``kubelb stop``: have the running proxy end, and wait until it has. Runs in the operator's command.

The supervisor holds a lock on its pid file for as long as it lives (:mod:`kubelb.supervisor.pidfile`), whoever it is
after an upgrade and whatever its number is in another container; its listening sockets are closed before that. Where
control does not answer, because it hangs, the supervisor is told by a signal.
"""

from __future__ import annotations

import fcntl
import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from kubelb.cli import adminclient
from kubelb.config.faults import printable
from kubelb.reasons import reason_of

_PID_FILE = "kubelb.pid"
_PATIENCE = 20.0
"""Seconds that a stop at once may take; after five the supervisor kills what is left of its children."""
_ANSWER = 3.0
"""Seconds that admin.sock may take to answer."""
_PID_BYTES = 32
_LOOK_EVERY = 0.05
_SAY_EVERY = 2.0


def stop(runtime_dir: Path, gracefully: bool) -> int:
    """The exit status, 0 once it has gone. How many sessions are left is for a terminal only."""
    patience = math.inf if gracefully else _PATIENCE
    try:
        with _pid_file(runtime_dir) as held:
            _ask(held, runtime_dir, gracefully)
            _wait(held, runtime_dir, time.monotonic() + patience)
    except adminclient.AdminFault as fault:
        print(printable(f"kubelb stop: {fault}"), file=sys.stderr)
        return 1
    return 0


def _ask(held: IO[bytes], runtime_dir: Path, gracefully: bool) -> None:
    """Over admin.sock, where the supervisor finds out who serves; by a signal where nobody answers there."""
    try:
        adminclient.stop(runtime_dir, gracefully, _ANSWER)
    except adminclient.AdminFault as fault:
        pid = held.read(_PID_BYTES).strip()
        if not pid.isdigit() or not _has_open(int(pid), held):
            raise
        print(printable(f"kubelb stop: {fault}; process {int(pid)} gets a signal instead"), file=sys.stderr)
        try:
            os.kill(int(pid), signal.SIGQUIT if gracefully else signal.SIGTERM)
        except OSError as error:
            raise adminclient.AdminFault(f"process {int(pid)} cannot be signalled: {reason_of(error)}") from None


def _has_open(pid: int, held: IO[bytes]) -> bool:
    """Whether that is the process: in another container its number is another's here."""
    wanted = os.fstat(held.fileno())
    for fd in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            if os.path.samestat(fd.stat(), wanted):
                return True
    return False


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
