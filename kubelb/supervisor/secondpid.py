"""The pid file that others look for, such as nginx's: written when a supervisor serves, removed by it at its end.

It is not held open and locks nothing; the runtime directory's does.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from kubelb.config.faults import ConfigFault, Fault
from kubelb.opening import Opened, open_to_write
from kubelb.reasons import failed


class SecondPid:
    """``None`` for a path: there is none."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)

    def write(self) -> None:
        """Raises :class:`ConfigFault` where that cannot be."""
        if self._path is None:
            return
        fd = open_pid(self._path).fd
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, 0)
            os.write(fd, _ours())
        except OSError as error:
            raise _fault(failed(f'write() to "{self._path}"', error)) from None
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Unless it is another supervisor's by now."""
        if self._path is None:
            return
        with suppress(OSError):
            # Nobody waits for whoever would write to a FIFO.
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                text = file.read(len(_ours()) + 1)
            if text == _ours():
                self._path.unlink()


def open_pid(path: Path) -> Opened:
    """To write to; what is in the file stays. Raises :class:`ConfigFault`."""
    try:
        opened = open_to_write(str(path), os.O_RDWR)
    except OSError as error:
        raise _fault(failed(f'open() "{path}"', error)) from None
    status = os.fstat(opened.fd)
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        # It may be a file of somebody else's, which would be overwritten.
        os.close(opened.fd)
        raise _fault(f'"{path}" has other names too')
    return opened


def _fault(what: str) -> ConfigFault:
    return ConfigFault(Fault(what=what, instead="name another file with pid"))


def _ours() -> bytes:
    return f"{os.getpid()}\n".encode()
