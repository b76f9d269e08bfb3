"""A thread that writes access logs, so that a slow disk, or a slow reader of a log, never holds up whoever has
something to be written.

Runs in workers and in control. What is to be written is queued. When the writing is so slow that the queue is full,
records are lost, not sessions or answers, and the log says how many. The thread owns the files and sockets.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from kubelb import log
from kubelb.accesslog.file import LogFile
from kubelb.accesslog.server import LogServer
from kubelb.config.model.logs import AccessLog
from kubelb.inbox import Call, contained

_QUEUED: Final = 10_000
_TELLING: Final = 10.0
"""Seconds between two times that it is said how many are lost, at least."""
_LONG: Final = 3600.0
"""Seconds; the queue takes no infinite patience."""

E = TypeVar("E")
"""One record."""
Out = LogFile | LogServer


class Scribe(Generic[E]):
    """Made and used after the fork, as it starts a thread."""

    def __init__(self, write: Callable[[E], None]) -> None:
        """``write`` is called on the thread for each record, and uses :meth:`out`."""
        self._write = write
        self._queue: queue.Queue[tuple[E] | Call | None] = queue.Queue(_QUEUED)
        self._late: deque[Call] = deque()
        self._losing = threading.Lock()
        self._lost = 0
        self._told = 0
        """Of those so many are told; this and the next are the thread's own."""
        self._tell_at = 0.0
        self._outs: dict[AccessLog, Out] = {}
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def record(self, entry: E) -> None:
        """From any thread: have it written, or lost."""
        try:
            self._queue.put_nowait((entry,))
        except queue.Full:
            with self._losing:
                self._lost += 1

    def order(self, call: Call) -> None:
        """From any thread: have it done on this one after what is queued by now; if the queue is full, as soon as
        the writing goes on."""
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._late.append(call)

    def reopen(self) -> None:
        """From any thread: open the files anew."""
        self.order(self._reopen)

    def close(self, patience: float | None = None) -> None:
        """Once no more is recorded: until all is written, or for so many seconds."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=patience)
            self._thread.join(patience)

    def out(self, settings: AccessLog, hostname: str) -> Out:
        """On the thread: where lines of that log go."""
        if settings not in self._outs:
            syslog = settings.syslog
            self._outs[settings] = LogFile(settings) if syslog is None else LogServer(syslog, hostname)
        return self._outs[settings]

    def keep(self, wanted: Collection[AccessLog]) -> None:
        """On the thread: all others are closed."""
        for settings in self._outs.keys() - set(wanted):
            self._outs.pop(settings).close()

    def _run(self) -> None:
        log.wait_for_room()
        while (item := self._next()) is not None:
            contained(partial(self._take, *item) if isinstance(item, tuple) else item)
            while self._late:
                contained(self._late.popleft())
        self._tell_lost()
        for out in self._outs.values():
            out.close()

    def _take(self, entry: E) -> None:
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELLING
            self._tell_lost()
        self._write(entry)
        self._write_due(now)

    def _tell_lost(self) -> None:
        lost = self._lost - self._told
        if lost:
            self._told += lost
            log.get().warning("access_log_lost", reason="it is written too slowly", lines=lost)

    def _next(self) -> tuple[E] | Call | None:
        """The next there is; until it comes, buffers are written out as they become due."""
        while True:
            due = min((out.due for out in self._outs.values()), default=float("inf"))
            try:
                return self._queue.get(timeout=min(max(due - time.monotonic(), 0.0), _LONG))
            except queue.Empty:
                self._write_due(time.monotonic())

    def _write_due(self, now: float) -> None:
        for out in self._outs.values():
            if out.due <= now:
                out.write_out()

    def _reopen(self) -> None:
        for out in self._outs.values():
            out.reopen()
