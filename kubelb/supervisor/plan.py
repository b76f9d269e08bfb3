"""What the supervisor does about its children: pure decisions over their states and the time.

A place is where one child belongs (``worker-0``, ``control``). A child that dies is replaced at once the first
time; while it keeps dying young the pauses grow, and a child that lived for a while starts afresh. Of a worker that
leaves, because there are to be fewer or a new supervisor has its own, nobody takes the place.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice

CONTROL = "control"
_YOUNG = 10.0
"""Seconds; a child that dies younger counts as failing again."""
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0


class Phase(Enum):
    RUNNING = auto()
    DRAINING = auto()
    """Told to stop gracefully: sessions may end by themselves."""
    HANDING_OVER = auto()
    """A new supervisor serves, and is being given the sessions."""
    STOPPING = auto()
    """Children were told to end at once."""
    KILLING = auto()
    """Children were killed. One that has not gone by the deadline is left behind: the kernel has it wait for a file
    system that stands still."""


@dataclass(frozen=True)
class Place:
    """``pid`` is None while nobody is there. Times are seconds of the monotonic clock."""

    name: str
    rows: tuple[int, ...] = ()
    """Of the shared counters, that are its to write: one a relay thread."""
    pid: int | None = None
    ready: bool = False
    started_at: float = 0.0
    young_deaths: int = 0
    """In a row."""
    spawn_at: float = 0.0
    """Not before."""


def started(place: Place, pid: int, now: float) -> Place:
    return replace(place, pid=pid, ready=False, started_at=now)


def ready(place: Place) -> Place:
    return replace(place, ready=True)


def died(place: Place, now: float) -> Place:
    young = place.young_deaths + 1 if now - place.started_at < _YOUNG else 0
    pause = 0.0 if young <= 1 else min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(young - 2, 16))
    return replace(place, pid=None, ready=False, young_deaths=young, spawn_at=now + pause)


def to_spawn(places: Iterable[Place], phase: Phase, now: float) -> list[Place]:
    """Empty places whose time has come."""
    if phase is not Phase.RUNNING:
        return []
    return [place for place in places if place.pid is None and place.spawn_at <= now]


def free_rows(taken: Collection[int], count: int) -> tuple[int, ...]:
    """The first ``count`` rows of the shared counters that are nobody's."""
    return tuple(islice((row for row in itertools.count() if row not in taken), count))


def channels_each(threads: int, taking: int, most: int) -> int:
    """How many channels each relay thread of a worker with so many ``threads`` gets to ``taking`` others.

    One to each of those, as far as the ``most`` that a worker can be given go; two at least, for one may die.
    """
    return max(2, min(taking, most // threads))


@dataclass(frozen=True)
class Ending:
    """How far a stop has come: ``deadline`` (None: none) is when the next, harder phase begins."""

    phase: Phase = Phase.RUNNING
    deadline: float | None = None


def stop_gracefully(ending: Ending, timeout: float | None, now: float) -> Ending:
    """``timeout`` in seconds; None: sessions have all the time they want."""
    if ending.phase not in (Phase.RUNNING, Phase.HANDING_OVER):
        return ending
    return Ending(Phase.DRAINING, None if timeout is None else now + timeout)


def stop_fast(ending: Ending, now: float, within: float) -> Ending:
    """``within`` so many seconds children have to end."""
    if ending.phase in (Phase.STOPPING, Phase.KILLING):
        return ending
    return Ending(Phase.STOPPING, now + within)


def escalate(ending: Ending, places: Iterable[Place], now: float, within: float) -> Ending:
    """The next phase, once its time has come: draining is done when no worker is left, whatever the deadline.

    ``within`` is for a fast stop that begins now.
    """
    if ending.phase is Phase.DRAINING and all(place.pid is None for place in places if place.name != CONTROL):
        return stop_fast(ending, now, within)
    if ending.deadline is None or now < ending.deadline:
        return ending
    if ending.phase is Phase.KILLING:
        return ending
    return stop_fast(ending, now, within) if ending.phase is Phase.DRAINING else Ending(Phase.KILLING, now + within)


def over(ending: Ending, places: Iterable[Place], now: float) -> bool:
    """Whether the supervisor may end: a fast stop is under way, and every child has gone, or cannot be waited for."""
    if ending.phase is Phase.KILLING and ending.deadline is not None and now >= ending.deadline:
        return True
    return ending.phase in (Phase.STOPPING, Phase.KILLING) and all(place.pid is None for place in places)


def next_look(places: Iterable[Place], ending: Ending) -> float | None:
    """When something is to be done even if nothing happens before."""
    times = [place.spawn_at for place in places if place.pid is None and ending.phase is Phase.RUNNING]
    if ending.deadline is not None:
        times.append(ending.deadline)
    return min(times, default=None)


def worker_name(index: int) -> str:
    return f"worker-{index}"


def worker_index(name: str) -> int:
    """What :func:`worker_name` made the name of."""
    return int(name.removeprefix("worker-"))


def worker_count(configured: int | None, cpus: int) -> int:
    """``configured`` None: a worker a CPU, at most 4."""
    return configured if configured is not None else min(cpus, 4)
