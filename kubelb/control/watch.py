"""Looks at one server, again and again: how often, and at once where there is doubt.

On control's loop. A look that has not been answered at half its time is given a second one beside it, so that a
server that has vanished fails ``fall`` of them in little more than the time of one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from kubelb.config.model.pools import Health
from kubelb.control.look import Look
from kubelb.control.loop import Loop, Timer
from kubelb.health.machine import Evidence, Kind
from kubelb.health.probes import ANSWERED, Outcome, Prober, Result
from kubelb.health.schedule import QUICK, pause
from kubelb.snapshot import Condition, Probe

_KINDS = {
    Outcome.PASSED: Kind.PASSED,
    Outcome.NOT_TOLD: Kind.NOT_TOLD,
    Outcome.FORBIDDEN: Kind.FORBIDDEN,
    Outcome.UNREADY: Kind.UNREADY,
    Outcome.REFUSED: Kind.REFUSED,
    Outcome.UNANSWERED: Kind.UNANSWERED,
    Outcome.SILENT: Kind.SILENT,
    Outcome.BROKEN: Kind.BROKEN,
}
"""What each outcome says about the server; one that is missing says nothing."""

Told = Callable[[Evidence | None, Probe], Condition]
"""Takes what a look has found, if that says anything about the server, and gives what is known of it now."""


class Watch:
    """Owns its looks and the prober."""

    def __init__(self, loop: Loop, prober: Prober, health: Health, told: Told) -> None:
        self._loop = loop
        self._prober = prober
        self._health = health
        self._told = told
        self._looks: list[Look] = []
        self._begun_at = -QUICK
        self._timer: Timer | None = None
        self._rng = random.Random()

    def start(self) -> None:
        self._look(anew=False)

    def hurry(self) -> None:
        """There is news of the server: look at once, on a new connection."""
        self._set_timer(self._begun_at + QUICK, anew=True)

    def _set_timer(self, due: float, anew: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.at(due, lambda: self._look(anew))

    def _look(self, anew: bool) -> None:
        """Two looks at the same time are enough: when they end there is another soon, if doubt is left."""
        self._timer = None
        if len(self._looks) < 2:
            look = Look(self._loop, self._prober, self._health.timeout, self._ended)
            self._looks.append(look)
            self._begun_at = look.begun_at
            if len(self._looks) < 2:
                self._set_timer(look.begun_at + self._health.timeout / 2, anew=True)
            look.begin(anew)

    def _ended(self, look: Look, result: Result) -> None:
        now = time.monotonic()
        self._looks.remove(look)
        if result.outcome in ANSWERED:
            for other in self._looks:
                other.abandon()
            self._looks = []
        kind = _KINDS.get(result.outcome)
        fault = "" if kind in (Kind.PASSED, Kind.NOT_TOLD) else result.reason
        probe = Probe(ended_at=now, seconds=now - look.begun_at, fault=fault)
        condition = self._told(Evidence(kind, now, result.reason, look.begun_at) if kind else None, probe)
        if not self._looks:
            wait = pause(condition, self._health.interval, self._health.fall, now, self._rng.random())
            self._set_timer(max(now, self._begun_at + wait), anew=False)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for look in self._looks:
            look.abandon()
        self._prober.close()
