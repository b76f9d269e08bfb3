"""Logs are events with fields, through structlog, on standard error, in files or to syslog servers.

JSON, one object a line, unless it goes to a terminal. Set up once a process, before any thread; a child goes on with
its parent's files, whose descriptors it has inherited, and opens them anew for itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from kubelb.imports import later, missing
from kubelb.outlets import LEVELS as LEVELS
from kubelb.outlets import Event, Outlets, Render, Target
from kubelb.outlets import wait_for_room as wait_for_room

# structlog loads rich, where that is installed, to colour tracebacks, and asyncio to log from coroutines: together
# 6 MB for what kubelb never does.
with missing("rich"), later("asyncio"):
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_SUM_UP = 10.0
"""Seconds between two lines that say the same, at least."""
_REMEMBERED = 1000
"""Events of which it is known when they were last written."""
_LIMITED = "_limited"


class _State:
    """Where this process writes."""

    def __init__(self) -> None:
        self.outlets: Outlets | None = None


_state = _State()


def write_to(*targets: Target) -> None:
    """From the next :func:`set_up` on. Raises :class:`OSError` with the name of a file that cannot be opened."""
    if _state.outlets is not None:
        _state.outlets.close()
    _state.outlets = None
    _state.outlets = Outlets(targets, _renderer, _as_json)


def set_up(process: str) -> None:
    """Every event says which ``process`` it is from. Without targets standard error has those from ``info`` on."""

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    if _state.outlets is None:
        write_to(Target())
    outlets = _state.outlets
    assert outlets is not None
    outlets.disown()
    structlog.configure(
        processors=[
            name_process,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            Repeats(time.monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(outlets.level),
        logger_factory=lambda *_: outlets,
        cache_logger_on_first_use=False,
    )


def set_levels(levels: Sequence[str]) -> None:
    """From any thread: the least that is written from now on, of each target in turn."""
    if _state.outlets is None:
        return
    _state.outlets.set_levels(levels)
    if get().get_effective_level() != _state.outlets.level:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_state.outlets.level))


def reopen() -> None:
    """From any thread: files may have been renamed, and what comes from now on goes to whatever has their names now.

    Other processes have them open for themselves.
    """
    if _state.outlets is not None:
        for path, reason in _state.outlets.reopen():
            get().error("log_not_reopened", file=path, reason=reason)


_json = structlog.processors.JSONRenderer()


def _as_json(event: Event) -> str:
    return str(_json(None, "", dict(event)))


def _renderer(fd: int) -> Render:
    """Of the lines that go there."""
    if not os.isatty(fd):
        return _as_json
    console = structlog.dev.ConsoleRenderer()
    return lambda event: str(console(None, "", dict(event)))


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
