"""Control's main loop: descriptors, timers, and calls from other threads; all that decides runs on it, in turn.

For one thread, but for :meth:`Loop.post` and :meth:`Loop.stop`. Owns its selector and its inbox; the
descriptors that are watched stay their owners'.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kubelb.inbox import Call, Inbox, contained

_PATIENCE = 10.0
"""Seconds that the loop may take to do what another thread waits for."""

T = TypeVar("T")


class BusyFault(Exception):
    """The loop has not come to it in time. The text is one line for the operator."""


@dataclass(order=True)
class Timer:
    """``due`` in seconds of the monotonic clock; once cancelled it does nothing."""

    due: float
    number: int
    call: Call | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._inbox = Inbox()
        self._stopped = False
        self.watch(self._inbox.fileno(), selectors.EVENT_READ, self._inbox.run)

    def watch(self, fd: int, events: int, call: Call) -> None:
        """Call whenever one of ``events`` (selectors.EVENT_*) is there; these alone, if ``fd`` was watched before."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, call)
        else:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def at(self, due: float, call: Call) -> Timer:
        timer = Timer(due, next(self._numbers), call)
        heapq.heappush(self._timers, timer)
        return timer

    def post(self, call: Call) -> None:
        """From any thread: have ``call`` run on the loop's, soon."""
        self._inbox.post(call)

    def ask(self, call: Callable[[], T]) -> T:
        """From any other thread: what ``call`` returns on the loop's, or raises.

        Raises :class:`BusyFault` when it does not come to that in time: it is not done later either.
        """
        answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        begun_or_given_up = threading.Lock()

        def answer() -> None:
            if not begun_or_given_up.acquire(blocking=False):
                return
            try:
                answers.put((True, call()))
            except Exception as error:
                answers.put((False, error))

        self.post(answer)
        try:
            done, found = answers.get(timeout=_PATIENCE)
        except queue.Empty:
            if begun_or_given_up.acquire(blocking=False):
                raise BusyFault("control is too busy to answer; try again") from None
            done, found = answers.get()
        if not done:
            raise found
        return found  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Have :meth:`run` return."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select(self._patience()):
                # An earlier call of this turn may have unwatched it.
                if key.fd in self._selector.get_map():
                    contained(key.data)
            now = time.monotonic()
            while self._timers and self._timers[0].due <= now:
                call = heapq.heappop(self._timers).call
                if call is not None:
                    contained(call)

    def _patience(self) -> float | None:
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else None

    def close(self) -> None:
        self._selector.close()
        self._inbox.close()
