"""The order of events; pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Clock:
    """Calls what is due, in the order of time, and of planning at the same time."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds."""
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()

    def at(self, when: float, what: Callable[..., object], *arguments: Any) -> None:
        """Call it then; what would be in the past is due now."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), what, arguments))

    def run(self, until: float) -> None:
        """Everything before ``until``."""
        events, pop = self._events, heapq.heappop
        while events and events[0][0] < until:
            self.now, _, what, arguments = pop(events)
            what(*arguments)
        self.now = until
