"""One file of an access log, appended to in whole lines, so that many processes can share it.

Used and owned, with its descriptor, by the one thread that writes it. What is buffered is written at the end of a
line only (nginx's ``ngx_stream_log_handler``); compressed, each buffer is a gzip member of its own, and the file can
be read as one.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from datetime import datetime

from kubelb import log
from kubelb.config.log_files import STANDARD, open_log
from kubelb.config.model.logs import AccessLog
from kubelb.reasons import reason_of


class LogFile:
    """``due`` is when :meth:`write_out` is to be called, in seconds of the monotonic clock."""

    def __init__(self, settings: AccessLog) -> None:
        """Opens it; what cannot be opened is tried again with each buffer, and lines are lost meanwhile."""
        self._path = settings.file
        self._size = settings.buffer
        self._patience = math.inf if settings.flush is None else float(settings.flush)
        self._level = settings.gzip
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = _open(self._path)
        self._lines: list[bytes] = []
        self._gathered = 0
        self._is_torn = False
        """Only the beginning of a line was written."""
        self.due = math.inf

    def write(self, line: bytes, _at: datetime, now: float) -> None:
        """``line`` is without its end; ``now`` in seconds of the monotonic clock."""
        line += b"\n"
        if self._gathered + len(line) > self._size:
            self.write_out()
        if not self._lines:
            self.due = now + self._patience
        self._lines.append(line)
        self._gathered += len(line)
        if self._gathered >= self._size:
            self.write_out()

    def write_out(self) -> None:
        """All that is in the buffer."""
        lines, self._lines, self._gathered, self.due = self._lines, [], 0, math.inf
        if not lines:
            return
        data = b"".join(lines)
        try:
            if self._fd is None:
                self._fd = _open(self._path)
            self._put(self._fd, data)
        except OSError as error:
            log.limited().error("access_log_lost", file=self._path, reason=reason_of(error), lines=len(lines))

    def _put(self, fd: int, data: bytes) -> None:
        """Raises :class:`OSError`, also where a full disk has taken but the beginning; what comes later is then no
        part of that line."""
        data = b"\n" + data if self._is_torn else data
        rest = memoryview(_compressed(data, self._level) if self._level else data)
        while rest:
            count = os.write(fd, rest)
            rest = rest[count:]
            self._is_torn = bool(rest)

    def reopen(self) -> None:
        """It may have been renamed: what comes from now on goes to whatever has its name then, or if that cannot be
        opened to where it went before (``ngx_reopen_files``, src/core/ngx_cycle.c)."""
        self.write_out()
        try:
            fd = _open(self._path)
        except OSError as error:
            log.get().error("log_not_reopened", file=self._path, reason=reason_of(error))
            return
        self.close()
        self._fd, self._is_torn = fd, False

    def close(self) -> None:
        self.write_out()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open(path: str) -> int:
    return os.dup(1 + STANDARD.index(path)) if path in STANDARD else open_log(path)


def _compressed(data: bytes, level: int) -> bytes:
    import gzip  # Few want it.

    return gzip.compress(data, level)
