"""The pid file that others look for, such as nginx's: written when a supervisor serves, removed by it at its end.

It is not held open and locks nothing; the runtime directory's does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kubelb.config.faults import ConfigFault, Fault
from kubelb.reasons import failed


class SecondPid:
    """``None`` for a path: there is none."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)

    def write(self) -> None:
        """Raises :class:`ConfigFault` where that cannot be."""
        if self._path is None:
            return
        fd = open_pid(self._path)
        try:
            os.ftruncate(fd, 0)
            os.write(fd, _ours())
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Unless it is another supervisor's by now."""
        if self._path is None:
            return
        with suppress(OSError):
            if self._path.read_bytes() == _ours():
                self._path.unlink()


def open_pid(path: Path) -> int:
    """A descriptor to write to; what is in the file stays. Raises :class:`ConfigFault`."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        what = failed(f'open() "{path}"', error)
        raise ConfigFault(Fault(what=what, instead="name another file with pid")) from None


def _ours() -> bytes:
    return f"{os.getpid()}\n".encode()
