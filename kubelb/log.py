"""Logs are events with fields, through structlog, on standard error or in a file.

JSON, one object a line, unless it goes to a terminal. Set up once a process, before any thread; a child goes on with
its parent's file, whose descriptor it has inherited, and opens it anew for itself.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TextIO

# structlog loads rich, where that is installed, to colour tracebacks: 4 MB in every kubelb for what it never shows.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger  # noqa: E402

if _rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _rich

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SUM_UP = 10.0
"""Seconds between two lines that say the same, at least."""
_REMEMBERED = 1000
"""Events of which it is known when they were last written."""
_LIMITED = "_limited"


class _Destination:
    """Where this process writes."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.fd = 2


_destination = _Destination()


def write_to(path: str | None) -> None:
    """From the next :func:`set_up` on: a file, which is appended to, or standard error. Raises :class:`OSError`."""
    _destination.fd = 2 if path is None else _open(path)
    _destination.path = path


def set_up(level: str, process: str) -> None:
    """``level`` is the least that is written; every event says which ``process`` it is from."""

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    renderer: Processor = structlog.processors.JSONRenderer()
    if os.isatty(_destination.fd):
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            name_process,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            Repeats(time.monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_lossy(_destination.fd)),
        cache_logger_on_first_use=False,
    )


def set_level(level: str) -> None:
    """From any thread: ``level`` is the least that is written from now on."""
    if get().get_effective_level() != LEVELS[level]:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))


def reopen() -> None:
    """From any thread: the file may have been renamed, and what comes from now on goes to whatever has its name now.

    Other processes have it open for themselves.
    """
    if _destination.path is None:
        return
    try:
        fd = _open(_destination.path)
    except OSError as error:
        get().error("log_not_reopened", file=_destination.path, reason=(error.strerror or str(error)).lower())
        return
    # The descriptor keeps its number, so that threads in the middle of a line need not know.
    os.dup2(fd, _destination.fd, inheritable=False)
    os.close(fd)


def _open(path: str) -> int:
    # Nobody waits for whoever would read a FIFO.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o644)
    os.set_blocking(fd, True)
    return fd


class _Lossy(io.FileIO):
    """What cannot be written is lost: the proxy outlives whoever reads its log, and a full disk."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _lossy(fd: int) -> TextIO:
    """Writes each line at once and whole; ``fd`` stays the caller's."""
    return io.TextIOWrapper(_Lossy(fd, "w", closefd=False), errors="backslashreplace", write_through=True)


class Repeats:
    """Of an event that :func:`limited` writes, only one in ten seconds is written; the next says in ``repeated`` how
    many were left out. Another reason, server, pool or listener, any other text in it, makes it another event."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[Hashable, tuple[float, int]] = {}
        """For each event when it may be written again, and how many have been left out."""

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """As structlog's processor."""
        if not event.pop(_LIMITED, False):
            return event
        with self._lock:
            repeated = self._note(_identity(event), self._clock())
        if repeated:
            event["repeated"] = repeated
        return event

    def _note(self, identity: Hashable, now: float) -> int:
        """How many were left out since the last; raises :class:`structlog.DropEvent` for one to be left out."""
        until, left_out = self._seen.get(identity, (now, 0))
        if now < until:
            self._seen[identity] = (until, left_out + 1)
            raise structlog.DropEvent
        if len(self._seen) >= _REMEMBERED:
            self._seen = {key: (until, count) for key, (until, count) in self._seen.items() if now < until}
        if len(self._seen) < _REMEMBERED:
            self._seen[identity] = (now + _SUM_UP, 0)
        return left_out


def _identity(event: EventDict) -> Hashable:
    """All its texts but that which differs from client to client. What is no text is measured or counted."""
    return tuple((name, value) for name, value in event.items() if isinstance(value, str) and name != "client")


def get() -> FilteringBoundLogger:
    """The process's logger; ask for it where an event is written, not at import."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def limited() -> FilteringBoundLogger:
    """As :func:`get`, for what happens as often as clients like: repeats of one event are summed up."""
    fields: dict[str, Any] = {_LIMITED: True}
    return get().bind(**fields)
