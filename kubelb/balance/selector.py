"""What a selector is, and which one a pool has; pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from kubelb.balance.hashing import ConsistentHash, Hash
from kubelb.balance.least_conn import LeastConn
from kubelb.balance.random_two import Random, RandomTwo
from kubelb.balance.round_robin import RoundRobin
from kubelb.config.model.pools import Balance
from kubelb.snapshot import Pool, Server


class Selector(Protocol):
    """Picks servers of the one pool it was made for. Its turns are state, so it belongs to one thread."""

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        """Return one of ``eligible``.

        ``eligible`` are positions in ``pool.servers``, ascending, not empty and all of one kind, primary or backup;
        ``conns`` the live sessions of every server by position, those being dialled included; ``key`` the hash key
        for this client. The pick depends on these, the picks before and ``rng`` alone.
        """
        ...


_SELECTORS: dict[Balance, Callable[[Sequence[Server]], Selector]] = {
    "round_robin": RoundRobin,
    "least_conn": LeastConn,
    "hash": Hash,
    "consistent_hash": ConsistentHash,
    "random": Random,
    "random_two": RandomTwo,
}


def make_selector(pool: Pool) -> Selector:
    """The selector that ``pool.balance`` names, with all turns at their start."""
    return _SELECTORS[pool.balance](pool.servers)
