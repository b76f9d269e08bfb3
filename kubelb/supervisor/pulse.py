"""Whether a child still does its work: decisions over the beats that it writes into its rows of the counters; pure.

Each of its threads that matters has a row and writes a beat there now and then, whatever else it does. What counts is
how long a beat has not changed while the supervisor itself was running: when the whole machine stood still, or had no
time for anybody, nobody is to blame. Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LOOK: float = 1.0
"""Between two looks at the beats."""


@dataclass(frozen=True)
class Pulse:
    """Of a child's rows, in order."""

    beats: tuple[int, ...]
    silent: tuple[float, ...]
    """For so long, as far as anybody was there to see it."""
    looked_at: float

    @property
    def longest_silence(self) -> float:
        return max(self.silent, default=0.0)


def first_look(beats: Sequence[int], now: float) -> Pulse:
    return Pulse(tuple(beats), (0.0,) * len(beats), now)


def next_look(pulse: Pulse, beats: Sequence[int], now: float) -> Pulse:
    """Of a longer pause than there should be between two looks no more counts than that."""
    passed = min(now - pulse.looked_at, 2 * LOOK)
    silent = tuple(
        0.0 if beat != before else quiet + passed
        for beat, before, quiet in zip(beats, pulse.beats, pulse.silent, strict=True)
    )
    return Pulse(tuple(beats), silent, now)
