"""The looks of one kubelb at one server: when, on which connection, and what is seen.

This is the edge that :mod:`kubelb.control.watch` and :mod:`kubelb.control.look` have with sockets, in simulated time.
When the next look is due is theirs to say: :func:`kubelb.health.schedule.pause`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from bench.fleet.settings import ROUND_TRIP
from kubelb.config.model.pools import Health
from kubelb.health.machine import Kind
from kubelb.health.schedule import is_in_doubt, pause
from kubelb.snapshot import Condition

if TYPE_CHECKING:
    from bench.fleet.apiserver import Apiserver
    from bench.fleet.world import World

_CONNECT_PATIENCE = 0.4
"""Seconds after which a connect that is not answered, or a question that is not acknowledged, is told of."""
_COMPANY = 0.5
"""The part of the time limit after which a question on a kept connection is put on a new one too."""
_SLOW = 0.5
"""Seconds after which a question that is not answered is told of."""
_AT_ONCE = 2
_ON_KEPT = 2
_ANSWERS = {200: Kind.PASSED, 403: Kind.FORBIDDEN}
_ANSWERED = (*_ANSWERS.values(), Kind.UNREADY)
_FAULTS = (Kind.REFUSED, Kind.UNANSWERED, Kind.SILENT)

Told = Callable[[Kind, float], Condition]
"""Takes what was seen and when the question was put that has shown it; gives what is known of the server now."""


class _Look:
    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.anew_at: float | None = None
        """When it was begun on a new connection."""
        self.missed = False
        """It waits for nothing but a connect of which was told that it is not answered."""
        self.late = False
        self.over = False


class Watch:
    def __init__(self, world: World, server: Apiserver, health: Health, told: Told) -> None:
        self._world = world
        self._clock = world.clock
        self._server = server
        self._health = health
        self._told = told
        self._condition = Condition()
        self._looks: list[_Look] = []
        self._dormant = health.probe == "off"
        """It asks by connects alone, and only while there is doubt."""
        self._begun_at = -math.inf
        self._kept: int | None = server.closings
        """The connection that is kept, by how often the server had closed all others before; None: there is none, or
        it is in use."""
        self._hurried = False
        self._wants_new = False
        self._hasty = 0
        self._on_kept = world.rng.randint(0, _ON_KEPT)
        self._failing = False
        self._timer = 0
        self._chance = world.rng.random()

    def start(self, condition: Condition, first: float) -> None:
        """It has been known like that for long, and the next look is due."""
        self._condition = condition
        if not self._dormant:
            self._set_timer(first)

    def hurry(self, anew: bool = True) -> None:
        """There is news; ``anew``: of this server."""
        self._hurried = True
        self._wants_new |= anew
        self._plan()

    def _plan(self) -> None:
        self._timer += 1
        if self._dormant and not self._is_hasty():
            return
        now = self._clock.now
        hasty = self._hasty if self._is_hasty() else None
        wait = pause(self._condition, self._health.interval, hasty, now, self._chance)
        self._set_timer(max(now, self._begun_at + wait))

    def _set_timer(self, due: float) -> None:
        self._timer += 1
        self._clock.at(due, self._look, self._timer)

    def _is_hasty(self) -> bool:
        return self._hurried or is_in_doubt(self._condition)

    def _look(self, timer: int) -> None:
        if timer != self._timer or not self._make_room():
            return
        self._hasty = self._hasty + 1 if self._is_hasty() else 0
        anew = self._wants_new or self._failing or self._on_kept == _ON_KEPT
        self._on_kept = 0 if anew else self._on_kept + 1
        self._hurried = self._wants_new = False
        self._chance = self._world.rng.random()
        look = _Look(self._clock.now)
        self._begun_at = look.begun
        self._looks.append(look)
        if anew or self._dormant or self._kept != self._server.closings:
            self._ask_anew(look)
        else:
            self._ask(look)

    def _make_room(self) -> bool:
        waiting = [look for look in self._looks if not look.late]
        if len(waiting) < _AT_ONCE:
            return True
        missed = [look for look in waiting if look.missed][:1]
        self._forget(missed)
        return bool(missed)

    def _forget(self, looks: Iterable[_Look]) -> None:
        for look in list(looks):
            look.over = True
            self._looks.remove(look)

    def _ask(self, look: _Look) -> None:
        """On the kept connection."""
        now, server, health = self._clock.now, self._server, self._health
        self._kept = None
        self._world.probed(server, anew=False)
        answered_at = server.asked(now)
        self._clock.at(answered_at, self._answered, look, server.life, now)
        self._doubt_if_slow(look, answered_at)
        if server.door == "silent":
            self._clock.at(now + _CONNECT_PATIENCE, self._ask_anew, look)
        elif answered_at > now + health.timeout * _COMPANY:
            self._clock.at(now + health.timeout * _COMPANY, self._ask_anew, look)
        if answered_at > now + health.timeout:
            self._clock.at(now + health.timeout, self._reach_limit, look)

    def _ask_anew(self, look: _Look) -> None:
        if look.over or look.anew_at is not None:
            return
        now, server, health = self._clock.now, self._server, self._health
        look.anew_at = now
        self._world.probed(server, anew=not self._dormant)
        if server.door == "refuses":
            self._clock.at(now + ROUND_TRIP, self._refused, look)
        elif server.door == "silent":
            self._clock.at(now + _CONNECT_PATIENCE, self._miss, look)
            self._clock.at(look.begun + health.timeout, self._reach_limit, look)
        elif self._dormant:
            self._clock.at(now + ROUND_TRIP, self._answered, look, server.life, now)
        else:
            answered_at = server.probed_anew(now)
            if answered_at < math.inf:
                self._clock.at(now + ROUND_TRIP, self._accepted, look)
            self._clock.at(answered_at, self._answered, look, server.life, now)
            self._doubt_if_slow(look, answered_at)
            if answered_at > look.begun + health.timeout:
                self._clock.at(look.begun + health.timeout, self._reach_limit, look)

    def _doubt_if_slow(self, look: _Look, answered_at: float) -> None:
        now = self._clock.now
        if now + _SLOW < answered_at < math.inf:
            self._clock.at(now + _SLOW, self._doubt, look, now)

    def _doubt(self, look: _Look, asked_at: float) -> None:
        if not look.over:
            self._condition = self._told(Kind.DOUBT, asked_at)
            self._set_timer(max(self._clock.now, look.begun + self._health.timeout / 2))

    def _accepted(self, look: _Look) -> None:
        if not look.over and look.anew_at is not None and (self._failing or is_in_doubt(self._condition)):
            self._tell(Kind.ACCEPTED, look.anew_at)

    def _refused(self, look: _Look) -> None:
        if not look.over and look.anew_at is not None:
            self._kept = None
            self._forget([look])
            self._tell(Kind.REFUSED, look.anew_at)

    def _miss(self, look: _Look) -> None:
        if not look.over and look.anew_at is not None:
            look.missed = True
            self._kept = None
            self._tell(Kind.UNANSWERED, look.anew_at)

    def _answered(self, look: _Look, life: int, asked_at: float) -> None:
        if look.over:
            return
        if life != self._server.life:
            # What the server was going to say was lost with it.
            self._clock.at(look.begun + self._health.timeout, self._reach_limit, look)
            return
        self._kept = self._server.closings
        self._forget([older for older in self._looks if older.begun <= look.begun])
        self._tell(Kind.PASSED if self._dormant else _ANSWERS.get(self._server.status, Kind.UNREADY), asked_at)

    def _reach_limit(self, look: _Look) -> None:
        if look.over or look.late:
            return
        if look.missed:
            self._forget([look])
            self._plan()
        elif self._server.door == "open":
            look.late = True
            self._clock.at(self._clock.now + self._health.hang_timeout, self._forget_late, look)
            self._tell(Kind.SILENT, look.begun)
        else:
            self._forget([look])
            self._tell(Kind.UNANSWERED, look.begun)

    def _forget_late(self, look: _Look) -> None:
        if not look.over:
            self._forget([look])

    def _tell(self, kind: Kind, begun: float) -> None:
        self._forget([late for late in self._looks if late.late][:-_AT_ONCE])
        if kind in _ANSWERED or kind in _FAULTS:
            self._failing = kind in _FAULTS
        self._condition = self._told(kind, begun)
        self._plan()
