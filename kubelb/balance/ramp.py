"""Smaller shares: that of a server that came back grows from a little to its full size, that of one that answers late
is half of it; pure.

A server that has just started has cold caches and, with least connections, no session at all, so it would get every
new one. It is therefore left out of most picks at first. As that happens before the selector is asked it is the same
for all of them.
"""

from __future__ import annotations

import math
import random

from kubelb.snapshot import Pool, Server

_LEAST = 0.1
"""The share to begin with."""
_LATE = 0.5
"""The share of a server that answers later than it should."""


def ramps(server: Server, slow_start: float, now: float) -> bool:
    """Whether its share still grows; seconds, of the monotonic clock."""
    return server.ramp_from is not None and now < server.ramp_from + slow_start


def ramps_until(pool: Pool) -> float:
    """When the last of its servers has its full share; seconds of the monotonic clock, 0: all have it, infinity: one
    is late."""
    if any(server.late for server in pool.servers):
        return math.inf
    return max(
        (server.ramp_from + pool.slow_start for server in pool.servers if server.ramp_from is not None), default=0
    )


def ramped(pool: Pool, eligible: list[int], now: float, rng: random.Random) -> list[int]:
    """Those of ``eligible`` (positions in ``pool.servers``, not empty) that are let in this time, at least one.

    A server is let in with the probability that is its share, ``(now - ramp_from) / slow_start``, half of that while
    it is late; where that leaves nobody, all are.
    """
    servers = pool.servers
    return [i for i in eligible if _let_in(servers[i], pool.slow_start, now, rng)] or eligible


def _let_in(server: Server, slow_start: float, now: float, rng: random.Random) -> bool:
    if server.late and rng.random() >= _LATE:
        return False
    if server.ramp_from is None or not ramps(server, slow_start, now):
        return True
    return rng.random() < max(_LEAST, (now - server.ramp_from) / slow_start)
