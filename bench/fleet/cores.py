"""The cores of an apiserver and the queue before them; pure."""

from __future__ import annotations

import heapq


class Cores:
    """Serves in the order of arrival; whoever finds all cores busy waits for the first that becomes free."""

    def __init__(self, count: int, now: float = 0.0) -> None:
        self._free_at = [now] * count

    def take(self, now: float, seconds: float) -> float:
        """When work of so many CPU seconds is done that arrives now; arrivals must come in the order of time."""
        done = max(now, self._free_at[0]) + seconds
        heapq.heapreplace(self._free_at, done)
        return done

    def wait(self, now: float) -> float:
        """How long whoever arrives now waits for a core."""
        return max(0.0, self._free_at[0] - now)
