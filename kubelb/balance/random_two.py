"""Random picks by weight, and the better of two; pure.

The distributions are nginx's (src/stream/ngx_stream_upstream_random_module.c). Two random servers and the less
loaded of them keep the loads nearly level without looking at all servers: Mitzenmacher, "The Power of Two Choices
in Randomized Load Balancing" (IEEE TPDS 12, 2001).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from kubelb.snapshot import Server


class Random:
    """Each eligible server with a probability in proportion to its weight."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._weights = [server.weight for server in servers]

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        return _draw(eligible, self._weights, rng)


class RandomTwo:
    """Two different servers drawn by weight, and of these the one with fewer sessions for its weight."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._weights = [server.weight for server in servers]

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        weights = self._weights
        first = _draw(eligible, weights, rng)
        if len(eligible) == 1:
            return first
        second = _draw([position for position in eligible if position != first], weights, rng)
        return first if conns[first] * weights[second] < conns[second] * weights[first] else second


def _draw(positions: Sequence[int], weights: Sequence[int], rng: random.Random) -> int:
    left = rng.random() * sum([weights[position] for position in positions])
    for position in positions:
        left -= weights[position]
        if left < 0:
            return position
    # The product above may round up to the whole sum.
    return positions[-1]
