"""kubelb as it was before it told the dead from the slow: two probes that are a second late, and all sessions are
reset at once, if another server is up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.fleet.apiserver import Apiserver
from bench.fleet.node import Node
from bench.fleet.policies.policy import Sequential
from bench.fleet.settings import ROUND_TRIP, SERVERS

_INTERVAL = 1.0
_TIMEOUT = 1.0
_COMPANY = 0.25
"""Seconds after which a question on a kept connection is put on a new one too."""
_BESIDE = 0.5
"""Seconds after which a look that is not answered gets a second one beside it."""
_QUICK = 0.1
_FALL = 2
_JITTER = 0.2
_DRAIN = 60.0
_RANKS = {"up": 0, "suspect": 1, "draining": 2, "down": 3}


class _Known(NamedTuple):
    state: str = "up"
    since: float = 0.0
    fails: int = 0


class _Look:
    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.over = False


class _Watch:
    """One server's: what is known of it, and the looks under way."""

    def __init__(self, server: Apiserver) -> None:
        self.server = server
        self.known = _Known()
        self.looks: list[_Look] = []
        self.begun_at = -math.inf
        self.timer = 0
        self.kept = 0
        """The connection that is kept, by how often the server had closed all others before."""


class Before(Sequential):
    patience = 0.25
    """Seconds until another server is tried beside it."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._watches = [_Watch(server) for server in self.world.servers]

    def start(self) -> None:
        for watch in self._watches:
            self._set_timer(watch, self.rng.random() * _INTERVAL)

    def pick(self, tried: Sequence[int]) -> int | None:
        ranks = {index: _RANKS[self._watches[index].known.state] for index in range(SERVERS) if index not in tried}
        among = [index for index, rank in ranks.items() if rank == min(ranks.values())]
        return self.least(among, self.node.conns) if among else None

    def failed(self, index: int) -> None:
        watch = self._watches[index]
        if watch.server.door == "refuses":
            if watch.known.state == "up":
                self._become(watch, "suspect")
            self._set_timer(watch, watch.begun_at + _QUICK, anew=True)

    def _set_timer(self, watch: _Watch, due: float, anew: bool = False) -> None:
        watch.timer += 1
        self.clock.at(due, self._look, watch, watch.timer, anew)

    def _look(self, watch: _Watch, timer: int, anew: bool) -> None:
        if timer != watch.timer or len(watch.looks) >= 2:
            return
        now = self.clock.now
        look = _Look(now)
        watch.looks.append(look)
        watch.begun_at = now
        if len(watch.looks) < 2:
            self._set_timer(watch, now + _BESIDE, anew=True)
        if anew or watch.kept != watch.server.closings:
            self._ask_anew(watch, look)
            return
        self.world.probed(watch.server, anew=False)
        answered_at = watch.server.asked(now)
        self._wait(watch, look, answered_at)
        if answered_at > now + _COMPANY:
            self.clock.at(now + _COMPANY, self._ask_anew, watch, look)

    def _ask_anew(self, watch: _Watch, look: _Look) -> None:
        if look.over:
            return
        now, server = self.clock.now, watch.server
        self.world.probed(server, anew=True)
        if server.door == "refuses":
            self.clock.at(now + ROUND_TRIP, self._end, watch, look, "refused")
        elif server.door == "open":
            self._wait(watch, look, server.probed_anew(now))
        else:
            self._wait(watch, look, math.inf)

    def _wait(self, watch: _Watch, look: _Look, answered_at: float) -> None:
        if answered_at < math.inf:
            self.clock.at(answered_at, self._answered, watch, look, watch.server.life)
        if answered_at > look.begun + _TIMEOUT:
            self.clock.at(look.begun + _TIMEOUT, self._end, watch, look, "silent")

    def _answered(self, watch: _Watch, look: _Look, life: int) -> None:
        if life != watch.server.life:
            # What it was going to say was lost with it.
            self.clock.at(look.begun + _TIMEOUT, self._end, watch, look, "silent")
        elif not look.over:
            watch.kept = watch.server.closings
            self._end(watch, look, "not ready" if watch.server.status == 500 else "passed")

    def _end(self, watch: _Watch, look: _Look, outcome: str) -> None:
        if look.over:
            return
        ended = watch.looks if outcome in ("passed", "not ready") else [look]
        for one in ended:
            one.over = True
        watch.looks = [one for one in watch.looks if not one.over]
        self._judge(watch, outcome)
        if not watch.looks:
            known = watch.known
            hasty = known.state == "suspect" and known.fails < _FALL
            wait = _QUICK if hasty else _INTERVAL * (1 - _JITTER * self.rng.random())
            self._set_timer(watch, max(self.clock.now, watch.begun_at + wait))

    def _judge(self, watch: _Watch, outcome: str) -> None:
        if outcome == "passed":
            self._become(watch, "up")
        elif outcome == "not ready":
            self._become(watch, "draining")
            self.clock.at(watch.known.since + _DRAIN, self._drained, watch, watch.known.since)
        else:
            fails = watch.known.fails + 1
            self._become(watch, "down" if fails >= _FALL else "suspect", fails)
        self._reset_down()

    def _become(self, watch: _Watch, state: str, fails: int = 0) -> None:
        since = watch.known.since if watch.known.state == state else self.clock.now
        watch.known = _Known(state, since, fails)

    def _drained(self, watch: _Watch, since: float) -> None:
        if watch.known.state == "draining" and watch.known.since == since:
            self.cut_all(watch.server.index)

    def _reset_down(self) -> None:
        if any(watch.known.state == "up" for watch in self._watches):
            for watch in self._watches:
                if watch.known.state == "down" and self.node.conns[watch.server.index]:
                    self.cut_all(watch.server.index)
