"""The server with the fewest live sessions for its weight; pure.

The algorithm is nginx's (src/stream/ngx_stream_upstream_least_conn_module.c): loads are compared as
``conns / weight`` without dividing, and servers that tie take turns.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from kubelb.balance.round_robin import RoundRobin
from kubelb.snapshot import Server


class LeastConn:
    """Never picks a server with a strictly higher load than another eligible one."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._weights = [server.weight for server in servers]
        self._turns = RoundRobin(servers)

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        weights = self._weights
        tied: list[int] = []
        least, least_weight = 0, 0
        for position in eligible:
            load, weight = conns[position] * least_weight, weights[position]
            if not tied or load < least * weight:
                tied = [position]
                least, least_weight = conns[position], weight
            elif load == least * weight:
                tied.append(position)
        return tied[0] if len(tied) == 1 else self._turns.turn(tied)
