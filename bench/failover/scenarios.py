"""The harms done, and the figures taken from each: add a scenario here, and what it is to reach in
:mod:`bench.failover.goals`.

``act`` runs in the bench's main thread while the clients run: it does the harm, waits as long as is looked at, and
says when it was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.failover import reading
from bench.failover.machines import Machines
from bench.failover.reading import Figures
from bench.failover.records import Harm, Load, Record
from bench.failover.terms import DEAD, DRAIN_SECONDS, HANG_SECONDS, NAMES

_SESSIONS = 60
_DOWN_SECONDS = 3.0
"""Of servers that return."""


@dataclass(frozen=True)
class Scenario:
    """One kind of harm."""

    name: str
    """As on the command line."""
    title: str
    """As in the table."""
    load: Load
    seconds: float
    """How long is looked on, as ``act`` understands it."""
    act: Callable[[Machines, float], Harm]
    read: Callable[[Record, Harm], Figures]
    figures: tuple[str, ...]
    """The names ``read`` gives."""
    quick_seconds: float = field(kw_only=True)
    """In place of ``seconds`` in a quick run."""

    @property
    def rebalances(self) -> bool:
        """A balancer that can move long-lived sessions is asked to."""
        return self.load.sessions > 0


def _kill(machines: Machines, seconds: float) -> Harm:
    harm = machines.kill(DEAD)
    time.sleep(seconds)
    return harm


def _power_off(machines: Machines, seconds: float) -> Harm:
    harm = machines.power_off(DEAD)
    time.sleep(seconds)
    return harm


def _drain(machines: Machines, seconds: float) -> Harm:
    """``seconds`` after it has stopped."""
    harm = machines.drain(DEAD)
    time.sleep(DRAIN_SECONDS + seconds)
    return harm


def _kill_all(machines: Machines, seconds: float) -> Harm:
    """``seconds`` after one of them is back."""
    machines.kill(*range(len(NAMES)))
    time.sleep(_DOWN_SECONDS)
    at = machines.start(DEAD)
    time.sleep(seconds)
    return Harm(at, at)


def _power_off_all(machines: Machines, seconds: float) -> Harm:
    harm = machines.power_off(*range(len(NAMES)))
    time.sleep(seconds)
    return harm


def _return(machines: Machines, seconds: float) -> Harm:
    """``seconds`` after it is back."""
    machines.kill(DEAD)
    time.sleep(_DOWN_SECONDS)
    at = machines.start(DEAD)
    time.sleep(seconds)
    return Harm(at, at)


_BUSY = Load(clients=30, every=0.05)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "killed",
        "killed",
        _BUSY,
        8.0,
        _kill,
        reading.kill,
        (reading.GAP, reading.FAILED, reading.REFUSED),
        quick_seconds=4.0,
    ),
    Scenario(
        "power-off",
        "powered off",
        _BUSY,
        30.0,
        _power_off,
        reading.power_off,
        (reading.SERVED_AGAIN, reading.FAILED, reading.REFUSED, reading.P50, reading.P99, reading.MAX),
        quick_seconds=10.0,
    ),
    Scenario(
        "drain",
        "graceful shutdown",
        _BUSY,
        3.0,
        _drain,
        reading.drain,
        (reading.GAP, reading.FAILED, reading.REFUSED, reading.SENT_THERE),
        quick_seconds=3.0,
    ),
    Scenario(
        "back",
        "all killed, one back",
        Load(every=0.025),
        15.0,
        _kill_all,
        reading.back,
        (reading.SERVED,),
        quick_seconds=10.0,
    ),
    Scenario(
        "vanished",
        "all powered off",
        Load(every=0.25, finish=HANG_SECONDS + 5),
        10.0,
        _power_off_all,
        reading.error,
        (reading.ERROR,),
        quick_seconds=3.0,
    ),
    Scenario(
        "sessions",
        f"{_SESSIONS} sessions, 1 min after a return",
        Load(sessions=_SESSIONS),
        60.0,
        _return,
        reading.sessions,
        (reading.UNEVEN, reading.RETURNED),
        quick_seconds=60.0,
    ),
)
