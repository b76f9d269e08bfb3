"""Looks at one server, again and again: how often, and at once where there is doubt.

On control's loop. Two looks at most wait for their time limits at once, and beside them two that are late. A look
that waits for nothing but a connection which is not accepted makes room for a newer one. An answer ends all older
looks: what they asked is known now.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from typing import Final

from kubelb.config.model.pools import Health
from kubelb.control.look import Look
from kubelb.control.loop import Loop, Timer
from kubelb.health.machine import GOOD_ANSWERS, Evidence, Kind
from kubelb.health.probes import ANSWERED, FAULTS, Outcome, Prober, Result
from kubelb.health.schedule import is_in_doubt, pause
from kubelb.snapshot import Condition, Probe

_KINDS = {
    Outcome.PASSED: Kind.PASSED,
    Outcome.NOT_TOLD: Kind.NOT_TOLD,
    Outcome.FORBIDDEN: Kind.FORBIDDEN,
    Outcome.UNREADY: Kind.UNREADY,
    Outcome.ACCEPTED: Kind.ACCEPTED,
    Outcome.SLOW: Kind.DOUBT,
    Outcome.REFUSED: Kind.REFUSED,
    Outcome.UNANSWERED: Kind.UNANSWERED,
    Outcome.SILENT: Kind.SILENT,
    Outcome.BROKEN: Kind.BROKEN,
}
"""What each outcome says about the server; one that is missing says nothing."""
_AT_ONCE: Final = 2
"""Looks that wait for their time limits, and as many that are late."""
_ON_KEPT: Final = 2
"""Looks in a row that may be on a kept connection."""

_STAGES: Final = frozenset({Outcome.ACCEPTED, Outcome.SLOW})
"""With these a probe is still under way."""

Told = Callable[[Evidence | None, Probe | None], Condition]
"""Takes what a look has found, if that says anything about the server, and how the probe went, once that is known;
gives what is known of the server now."""


class Watch:
    """Owns its looks and the prober."""

    def __init__(self, loop: Loop, prober: Prober, health: Health, told: Told, *, dormant: bool = False) -> None:
        """``dormant``: nothing is asked of the server while it is well; it is looked at after :meth:`hurry`, until it
        is well again."""
        self._loop = loop
        self._prober = prober
        self._health = health
        self._told = told
        self._dormant = dormant
        self._condition = Condition()
        self._looks: list[Look] = []
        self._begun_at = -math.inf
        """Of the newest look."""
        self._hurried = False
        self._wants_new = False
        """The next look is to be on a new connection."""
        self._hasty = 0
        """Looks in a row that were made in haste."""
        self._rng = random.Random()
        self._on_kept = self._rng.randint(0, _ON_KEPT)
        """Looks in a row that might be on a kept connection. Nodes that start together do not count in step."""
        self._failing = False
        """It did not answer when it was last asked."""
        self._timer: Timer | None = None
        self._chance = self._rng.random()

    def start(self) -> None:
        if not self._dormant:
            self._look()

    def hurry(self, anew: bool = True) -> None:
        """There is news: look at once; where there is news all the time, in less and less haste.

        ``anew``: on a new connection, for the news is of this server.
        """
        self._hurried = True
        self._wants_new |= anew
        self._plan()

    def _look_at(self, due: float) -> None:
        """And not when it was planned before."""
        self._forget_plan()
        self._timer = self._loop.at(max(time.monotonic(), due), self._look)

    def _forget_plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        self._forget_plan()
        haste = self._is_hasty()
        if haste or not self._dormant:
            now = time.monotonic()
            hasty = self._hasty if haste else None
            wait = pause(self._condition, self._health.interval, hasty, now, self._chance)
            self._look_at(self._begun_at + wait)

    def _is_hasty(self) -> bool:
        return self._hurried or is_in_doubt(self._condition)

    def _look(self) -> None:
        self._timer = None
        if not self._make_room():
            return
        self._hasty = self._hasty + 1 if self._is_hasty() else 0
        anew = self._wants_new or self._failing or self._on_kept == _ON_KEPT
        self._on_kept = 0 if anew else self._on_kept + 1
        self._hurried = self._wants_new = False
        self._chance = self._rng.random()
        look = Look(self._loop, self._prober, self._health, self._saw)
        self._begun_at = look.begun_at
        self._looks.append(look)
        look.begin(anew)

    def _make_room(self) -> bool:
        """Whether there is room for one more look; else what those under way have to tell leads to the next."""
        self._forget(look for look in self._looks if look.is_over)
        waiting = [look for look in self._looks if not look.is_late]
        if len(waiting) < _AT_ONCE:
            return True
        unanswered = [look for look in waiting if look.is_unanswered][:1]
        self._forget(unanswered)
        return bool(unanswered)

    def _forget(self, looks: Iterable[Look]) -> None:
        for look in list(looks):
            look.abandon()
            self._looks.remove(look)

    def _saw(self, look: Look, result: Result, begun_at: float) -> None:
        if result.outcome is Outcome.ACCEPTED and not (self._failing or is_in_doubt(self._condition)):
            return
        if result.outcome in ANSWERED:
            self._forget(older for older in self._looks if older.begun_at < look.begun_at)
        self._forget([late for late in self._looks if late.is_late][:-_AT_ONCE])
        if result.outcome in ANSWERED | FAULTS:
            self._failing = result.outcome in FAULTS
        self._tell(result, begun_at)
        if result.outcome is Outcome.SLOW:
            # One that only takes its time is not asked in haste for that.
            self._look_at(look.begun_at + self._health.timeout / 2)
        else:
            self._plan()

    def _tell(self, result: Result, begun_at: float) -> None:
        now = time.monotonic()
        kind = _KINDS.get(result.outcome)
        fault = "" if kind in GOOD_ANSWERS else result.reason
        probe = None if result.outcome in _STAGES else Probe(ended_at=now, seconds=now - begun_at, fault=fault)
        self._condition = self._told(Evidence(kind, now, result.reason, begun_at) if kind else None, probe)

    def stop(self) -> None:
        self._forget_plan()
        self._forget(self._looks)
        self._prober.close()
