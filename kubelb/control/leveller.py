"""Evens out the sessions of a pool, a few at a time: looks at the counters now and then, and has idle ones closed.

On control's loop. Sessions on servers that are only second choice (backups, worse tiers) go back to better ones
whenever these are up; among the best, sessions are levelled where the pool has ``rebalance``. Which and how many is
decided by :mod:`kubelb.balance.rebalance`; the workers close them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial

from kubelb import log
from kubelb.balance import rebalance
from kubelb.balance.ramp import ramps
from kubelb.balance.rebalance import Closing
from kubelb.config.model.pools import Pool as Settings
from kubelb.config.model.pools import Rebalance
from kubelb.control.loop import Loop, Timer
from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.stats import Count, Table
from kubelb.wire.messages import Release


class Leveller:
    def __init__(
        self,
        loop: Loop,
        snapshot: Callable[[], Snapshot],
        settings: Mapping[str, Settings],
        table: Table,
        send: Callable[[Release], object],
    ) -> None:
        """``snapshot`` gives the newest, ``settings`` are the pools as configured."""
        self._loop = loop
        self._snapshot = snapshot
        self._settings = settings
        self._table = table
        self._send = send
        self._rng = random.Random()
        self._timers: dict[str, Timer] = {}
        """By pool."""

    def start(self) -> None:
        self.reload(self._settings)

    def reload(self, settings: Mapping[str, Settings]) -> None:
        """Go by these from now on."""
        for timer in self._timers.values():
            timer.cancel()
        self._settings, self._timers = settings, {}
        for name, pool in settings.items():
            if pool.rebalance is not None or _has_second_choices(pool):
                self._later(name, pool.rebalance or Rebalance())

    def stop(self) -> None:
        self.reload({})

    def _later(self, name: str, how: Rebalance) -> None:
        self._timers[name] = self._loop.at(time.monotonic() + how.every, partial(self._level, name, how))

    def _level(self, name: str, how: Rebalance) -> None:
        self._later(name, how)
        pool = next(pool for pool in self._snapshot().pools if pool.name == name)
        usable = [server for server in pool.servers if _is_usable(server, pool, time.monotonic())]
        closing = self._closing(usable, how, level=self._settings[name].rebalance is not None)
        if closing is not None:
            self._close(pool, closing, float(how.quiet))

    def _closing(self, usable: list[Server], how: Rebalance, level: bool) -> Closing | None:
        conns = [self._table.total(server.slot, Count.ACTIVE) for server in usable]
        back = rebalance.move_back(usable, conns, how.at_most)
        if back is not None or not level:
            return back
        chosen = rebalance.best(usable)
        return rebalance.level([usable[i] for i in chosen], [conns[i] for i in chosen], how.threshold, how.at_most)

    def _close(self, pool: Pool, closing: Closing, quiet: float) -> None:
        sessions = self._table.each(closing.slot, Count.ACTIVE)
        server = next(server for server in pool.servers if server.slot == closing.slot)
        log.get().debug("rebalancing", pool=pool.name, server=server.name, sessions=closing.sessions)
        self._send(Release(closing.slot, rebalance.by_row(closing.sessions, sessions, self._rng), quiet))


def _has_second_choices(settings: Settings) -> bool:
    return len({(server.backup, server.tier) for server in settings.servers}) > 1


def _is_usable(server: Server, pool: Pool, now: float) -> bool:
    """One that is known to be well and has its full share of new sessions: those that are closed shall reach it."""
    return server.state == "up" and not ramps(server, pool.slow_start, now)
