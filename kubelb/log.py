"""Logs are events with fields, through structlog, on standard error, in files or to syslog servers.

JSON, one object a line, unless it goes to a terminal. Set up once a process, before any thread. A process without
children writes itself; else all put their events into a queue, and one of them writes (:mod:`kubelb.logwriter`).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubelb.imports import later, missing
from kubelb.logqueue import LONGEST, LogQueue
from kubelb.outlets import LEVELS as LEVELS
from kubelb.outlets import Event, Line, Outlets, Render, Target

# structlog loads rich, where that is installed, to colour tracebacks, and asyncio to log from coroutines: together
# 6 MB for what kubelb never does.
with missing("rich"), later("asyncio"):
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_SUM_UP = 10.0
"""Seconds between two lines that say the same, at least."""
_TEXTS = 5
"""Different texts of one event that are written in that time, at most."""
_MOST = 200
"""Lines of all such events that are written in that time, at most."""
_REMEMBERED = 1000
"""Events of which it is known when they were last written."""
_NAMES = (
    *("event", "level", "pool", "server", "listener", "zone", "key", "variable", "setting", "syslog", "file"),
    *("side", "where"),
)
"""Fields whose values are out of the configuration, or our own, so that there are not many."""
_LIMITED = "_limited"


class _State:
    """Where this process writes."""

    def __init__(self) -> None:
        self.outlets: Outlets | None = None
        self.queue: LogQueue | None = None
        """Through which the process that writes the log is told; None: this one writes itself."""


class _Thread(threading.local):
    may_wait = False


_state = _State()
_thread = _Thread()


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

    outlets().disown()
    structlog.configure(
        processors=[
            name_process,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            Repeats(time.monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(outlets().level),
        logger_factory=_Logger,
        cache_logger_on_first_use=False,
    )


def outlets() -> Outlets:
    """All that there are of this process, for whoever is to write the log."""
    if _state.outlets is None:
        write_to(Target())
    assert _state.outlets is not None
    return _state.outlets


def go_through(queue: LogQueue | None) -> None:
    """From now on events of this process, and of those that it forks, are put into the queue; None: this process
    writes them itself. What Python would write to standard error, and wait there, is an event, too."""
    _state.queue = queue
    threading.excepthook = _note_failure
    sys.unraisablehook = _note_failure


def _note_failure(failure: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    """A fault of ours that has ended a thread, or that nobody could be told of."""
    if failure.exc_value is not None:
        limited().error("internal_error", exc_info=failure.exc_value)


def set_levels(levels: Sequence[str]) -> None:
    """From any thread: the least that is written from now on, of each target in turn."""
    if _state.outlets is None:
        return
    _state.outlets.set_levels(levels)
    if get().get_effective_level() != _state.outlets.level:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_state.outlets.level))


def wait_for_room() -> None:
    """Have the calling thread wait where there is no room for its events, from now on: it has nothing else to do."""
    _thread.may_wait = True


class _Logger:
    """What structlog passes events to, at whichever level."""

    def __init__(self, *_: object) -> None:
        """It is told nothing."""

    def write(self, **event: Any) -> None:
        """From any thread, which is not held up unless it may be."""
        queue, wanted = _state.queue, outlets().wanted_at(event["level"])
        if queue is None:
            outlets().write(**event)
        elif wanted:
            if _thread.may_wait:
                queue.wait_for_room()
            queue.put(encode(event, wanted))

    debug = info = warning = error = critical = write


def encode(event: Event, wanted: int, longest: int = LONGEST) -> bytes:
    """The event as it goes through the queue, and which outlets want it: what :func:`decode` gives. Of one that is
    too long the longest texts are cut in the middle: the end of a traceback says what it is about."""
    head, most = b"%x " % wanted, longest
    while len(head) + len(line := outlets().render(event)) > longest:
        most //= 2
        event = {name: _cut(value, most) for name, value in event.items()}
    return head + line


def decode(line: bytes) -> tuple[Line, int]:
    """Raises :class:`ValueError` for what is no such line; whether it has an event is seen later."""
    wanted, _, json = line.partition(b" ")
    return Line(json), int(wanted, 16)


def _cut(value: Any, most: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else str(value)
    return value if len(text) <= most else f"{text[: most // 2]} ... {text[len(text) - most // 2 :]}"


_json = structlog.processors.JSONRenderer()


def _as_json(event: Event) -> str:
    return str(_json(None, "", dict(event)))


def _renderer(fd: int) -> Render | None:
    """Of the lines that go there; None: JSON."""
    if not os.isatty(fd):
        return None
    console = structlog.dev.ConsoleRenderer()
    return lambda event: str(console(None, "", dict(event)))


class Repeats:
    """Of an event that :func:`limited` writes, only one in ten seconds is written; the next says in ``repeated`` how
    many were left out.

    Another server, pool or listener, any other name out of the configuration, makes it another event. What clients
    may word as they like does not: a few texts are written in ten seconds. There is a bound for all events together,
    too, and the next one says in ``others`` how many it has cost.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[Hashable, _Window] = {}
        self._all = _Window(0.0)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """As structlog's processor."""
        if not event.pop(_LIMITED, False):
            return event
        with self._lock:
            return {**event, **self._note(event, self._clock())}

    def _note(self, event: EventDict, now: float) -> dict[str, int]:
        """How many were left out since the last; raises :class:`structlog.DropEvent` for one to be left out."""
        kind = tuple(event.get(name) for name in _NAMES)
        every = self._all = self._all.at(now)
        window = self._kinds.get(kind, _Window(now)).at(now)
        if window.has_had(text := _text(event)):
            window.left_out += 1
            raise structlog.DropEvent
        if every.written >= _MOST or not self._remember(kind, window, now):
            every.left_out += 1
            raise structlog.DropEvent
        every.written += 1
        told = {"repeated": window.left_out_before, "others": every.left_out_before}
        window.write(text)
        every.left_out_before = 0
        return {name: count for name, count in told.items() if count}

    def _remember(self, kind: Hashable, window: _Window, now: float) -> bool:
        """Whether there is room for another."""
        if kind not in self._kinds and len(self._kinds) >= _REMEMBERED:
            self._kinds = {known: one for known, one in self._kinds.items() if now < one.until}
        if kind in self._kinds or len(self._kinds) < _REMEMBERED:
            self._kinds[kind] = window
            return True
        return False


@dataclass
class _Window:
    """Ten seconds of one kind of event, or of all."""

    begun: float
    texts: set[Hashable] = field(default_factory=set)
    """Those that have been written."""
    written: int = 0
    left_out: int = 0
    left_out_before: int = 0
    """In the windows before; not told yet."""

    @property
    def until(self) -> float:
        return self.begun + _SUM_UP

    def at(self, now: float) -> _Window:
        """This one, or the next where its time is up."""
        return self if now < self.until else _Window(now, left_out_before=self.left_out + self.left_out_before)

    def has_had(self, text: Hashable) -> bool:
        return text in self.texts or len(self.texts) >= _TEXTS

    def write(self, text: Hashable) -> None:
        self.texts.add(text)
        self.left_out_before = 0


def _text(event: EventDict) -> Hashable:
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
