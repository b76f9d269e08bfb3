"""Smooth weighted round robin; pure.

Over any ``sum(weights)`` picks each server gets exactly its weight, and a heavy server's turns are spread between
the others' instead of coming in a row. The algorithm is nginx's ``ngx_stream_upstream_get_peer``
(src/stream/ngx_stream_upstream_round_robin.c). nginx also lowers the effective weight of a server that failed and
raises it again by one a pick; here failures act only through who is eligible.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from kubelb.snapshot import Server


class RoundRobin:
    """Whose turn it is. The other selectors use it too, to break ties and as their last answer."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._weights = [server.weight for server in servers]
        self._current = [0] * len(servers)

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        return self.turn(eligible)

    def turn(self, positions: Sequence[int]) -> int:
        """The next of ``positions`` (not empty); the first wins a tie. The others' turns wait for them."""
        current, weights = self._current, self._weights
        best, most, total = -1, -math.inf, 0
        for position in positions:
            weight = weights[position]
            total += weight
            current[position] = waited = current[position] + weight
            if waited > most:
                best, most = position, waited
        current[best] -= total
        return best
