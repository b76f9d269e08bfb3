"""Logs are events with fields, through structlog, on standard error.

JSON, one object a line, unless standard error is a terminal. Set up once a process, before any thread.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, TextIO

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


def set_up(level: str, process: str) -> None:
    """``level`` is the least that is written; every event says which ``process`` it is from."""

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    renderer: Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            name_process,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_lossy(sys.stderr.fileno())),
        cache_logger_on_first_use=False,
    )


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


def get() -> FilteringBoundLogger:
    """The process's logger; ask for it where an event is written, not at import."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger
