"""Lazy deadlines; pure.

An entry stands in the bucket of its deadline. For an idle session that is the moment at which it would have been
silent for too long if nothing moved again: moving bytes touches nothing here; when the bucket comes up the owner
looks at when bytes last moved and ends the session or puts it into a later bucket. Far deadlines share wide buckets,
so there are few, however many entries come and go. (Varghese and Lauck's hashed timing wheels, SOSP 1987, with a heap
of the used buckets in place of the rings.)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Entry(Protocol):
    """What can stand in the wheel; ``wheel_key`` is the wheel's own."""

    wheel_key: int


E = TypeVar("E", bound=Entry)


class Wheel(Generic[E]):
    """An entry comes up at its deadline or a little later, never before: up to a ``tick``, in seconds, or a 64th of
    the time that it was put in for, whichever is more."""

    def __init__(self, tick: float = 1 / 64) -> None:
        self._tick = tick
        self._buckets: dict[int, set[E]] = {}
        self._keys: list[int] = []

    def put(self, entry: E, deadline: float, now: float) -> None:
        """Both in seconds of the owner's clock. One that stands in the wheel is moved: it has one deadline."""
        self.discard(entry)
        ticks = int((deadline - now) / (64 * self._tick))
        width = 1 << max(0, ticks.bit_length() - 1)
        key = (int(deadline / self._tick) // width + 1) * width
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            heapq.heappush(self._keys, key)
        bucket.add(entry)
        entry.wheel_key = key

    def discard(self, entry: E) -> None:
        bucket = self._buckets.get(entry.wheel_key)
        if bucket is not None:
            bucket.discard(entry)

    def due(self, now: float) -> Iterator[E]:
        """Take out what has come up, one entry after the other: one that is discarded meanwhile does not come up."""
        while self._keys and self._keys[0] * self._tick <= now:
            key = heapq.heappop(self._keys)
            bucket = self._buckets[key]
            while bucket:
                yield bucket.pop()
            del self._buckets[key]

    def next_due(self) -> float | None:
        """When the first bucket comes up; it may turn out to be empty."""
        return self._keys[0] * self._tick if self._keys else None
