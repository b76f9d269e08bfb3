"""Pools, and what may be eligible in them, for properties."""

from __future__ import annotations

import random
from typing import Any, get_args

from hypothesis import strategies as st

from kubelb.config.model.pools import Balance
from kubelb.snapshot import Pool, Server, State

BALANCES: tuple[Balance, ...] = ("round_robin", "least_conn", "hash", "consistent_hash", "random", "random_two")


def a_server(number: int, **settings: Any) -> Server:
    settings = {"name": f"10.0.0.{number}:6443", **settings}
    return Server(slot=number, address=(f"10.0.0.{number}", 6443), **settings)


def a_pool(balance: Balance, weights: list[int], **settings: Any) -> Pool:
    servers = tuple(a_server(number, weight=weight, **settings) for number, weight in enumerate(weights))
    return Pool(name="pool", balance=balance, hash_key="$remote_addr", servers=servers)


weights = st.lists(st.integers(1, 9), min_size=1, max_size=9)
keys = st.ip_addresses().map(lambda address: str(address).encode())
seeds = st.integers(0, 2**32).map(random.Random)


class Drawn(random.Random):
    """Draws one number for ever."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self._number = number

    def random(self) -> float:
        return self._number


@st.composite
def any_servers(draw: st.DrawFn) -> list[Server]:
    return [
        a_server(
            number,
            weight=draw(st.integers(1, 9)),
            max_conns=draw(st.sampled_from([0, 0, 1, 3])),
            backup=draw(st.booleans()),
            tier=draw(st.sampled_from([0, 0, 1, 2])),
            state=draw(st.sampled_from(["up", "up", *get_args(State)])),
            drained=draw(st.sampled_from([False, False, True])),
        )
        for number in range(draw(st.integers(1, 9)))
    ]


def subsets(size: int) -> st.SearchStrategy[list[int]]:
    """Positions that may be eligible out of ``size``."""
    return st.sets(st.integers(0, size - 1), min_size=1).map(sorted)


def loads(size: int) -> st.SearchStrategy[list[int]]:
    """Live sessions of ``size`` servers."""
    return st.lists(st.integers(0, 40), min_size=size, max_size=size)
