"""What the supervisor does about its children: pure decisions over their states and the time.

A place is where one child belongs (``worker-0``, ``control``). A child that dies is replaced at once the first
time; while it keeps dying young the pauses grow, and a child that lived for a while starts afresh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

CONTROL = "control"
_YOUNG = 10.0
"""Seconds; a child that dies younger counts as failing again."""
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0
_KILL_AFTER = 5.0
"""Seconds that children have to end after a fast stop."""


class Phase(Enum):
    RUNNING = auto()
    DRAINING = auto()
    """Told to stop gracefully: sessions may end by themselves."""
    STOPPING = auto()
    """Children were told to end at once."""
    KILLING = auto()


@dataclass(frozen=True)
class Place:
    """``pid`` is None while nobody is there. Times are seconds of the monotonic clock."""

    name: str
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


@dataclass(frozen=True)
class Ending:
    """How far a stop has come: ``deadline`` (None: none) is when the next, harder phase begins."""

    phase: Phase = Phase.RUNNING
    deadline: float | None = None


def stop_gracefully(ending: Ending, timeout: float | None, now: float) -> Ending:
    """``timeout`` in seconds; None: sessions have all the time they want."""
    if ending.phase is not Phase.RUNNING:
        return ending
    return Ending(Phase.DRAINING, None if timeout is None else now + timeout)


def stop_fast(ending: Ending, now: float) -> Ending:
    if ending.phase in (Phase.STOPPING, Phase.KILLING):
        return ending
    return Ending(Phase.STOPPING, now + _KILL_AFTER)


def escalate(ending: Ending, places: Iterable[Place], now: float) -> Ending:
    """The next phase, once its time has come: draining is done when no worker is left, whatever the deadline."""
    if ending.phase is Phase.DRAINING and all(place.pid is None for place in places if place.name != CONTROL):
        return stop_fast(ending, now)
    if ending.deadline is None or now < ending.deadline:
        return ending
    return stop_fast(ending, now) if ending.phase is Phase.DRAINING else Ending(Phase.KILLING)


def over(ending: Ending, places: Iterable[Place]) -> bool:
    """Whether the supervisor may end: a fast stop is under way and every child has gone."""
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
