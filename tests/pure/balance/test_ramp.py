from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.ramp import ramped, ramps, ramps_until
from kubelb.snapshot import Pool
from tests.pure.balance.pools import Drawn, a_pool, seeds, subsets

_NOW = 1000.0


def ramping(*begun: float | None, slow_start: float = 10.0) -> Pool:
    """A server for each: when it came back."""
    pool = a_pool("round_robin", [1] * len(begun))
    servers = [
        msgspec.structs.replace(server, ramp_from=ramp_from)
        for server, ramp_from in zip(pool.servers, begun, strict=True)
    ]
    return msgspec.structs.replace(pool, servers=tuple(servers), slow_start=slow_start)


def share(pool: Pool, position: int, now: float, picks: int = 4000) -> float:
    """Of so many picks, in how many it is let in."""
    everybody, rng = list(range(len(pool.servers))), random.Random(1)
    return sum(position in ramped(pool, everybody, now, rng) for _ in range(picks)) / picks


pools = st.lists(st.none() | st.floats(_NOW - 20, _NOW + 1), min_size=1, max_size=6).map(
    lambda begun: ramping(*begun)
)


@given(st.data(), pools, st.floats(_NOW - 1, _NOW + 20), seeds)
def test_some_of_the_eligible_and_all_that_do_not_ramp(
    data: st.DataObject, pool: Pool, now: float, rng: random.Random
) -> None:
    allowed = data.draw(subsets(len(pool.servers)))
    let_in = ramped(pool, allowed, now, rng)
    assert let_in
    assert set(let_in) <= set(allowed)
    assert let_in == sorted(let_in)
    for position in allowed:
        ramp_from = pool.servers[position].ramp_from
        if ramp_from is None or now >= ramp_from + pool.slow_start:
            assert position in let_in


@given(pools, seeds)
def test_afterwards_all_are_let_in(pool: Pool, rng: random.Random) -> None:
    everybody = list(range(len(pool.servers)))
    assert ramped(pool, everybody, ramps_until(pool), rng) == everybody


def test_the_share_grows() -> None:
    pool = ramping(None, _NOW)
    for elapsed, wanted in ((-1, 0.1), (0, 0.1), (0.5, 0.1), (3, 0.3), (5, 0.5), (9, 0.9), (10, 1), (99, 1)):
        assert abs(share(pool, 1, _NOW + elapsed) - wanted) < 0.05
        assert share(pool, 0, _NOW + elapsed) == 1


def test_a_tenth_is_the_least_share() -> None:
    pool = ramping(None, _NOW)
    for elapsed, share_then in ((0.0, 0.1), (0.5, 0.1), (5.0, 0.5)):
        now = _NOW + elapsed
        assert ramped(pool, [0, 1], now, Drawn(share_then - 0.001)) == [0, 1]
        assert ramped(pool, [0, 1], now, Drawn(share_then)) == [0]


def test_one_that_never_was_away_has_its_full_share() -> None:
    pool = ramping(None, _NOW)
    assert [ramps(server, pool.slow_start, _NOW + 9.9) for server in pool.servers] == [False, True]
    assert [ramps(server, pool.slow_start, _NOW + 10) for server in pool.servers] == [False, False]


def test_the_only_choice_is_let_in() -> None:
    assert share(ramping(_NOW, None), 0, _NOW) < 0.2
    rng = random.Random(1)
    assert all(ramped(ramping(_NOW, None), [0], _NOW, rng) == [0] for _ in range(100))


def test_those_that_came_back_together_share_alike() -> None:
    pool = ramping(_NOW, _NOW)
    assert abs(share(pool, 0, _NOW + 1) - share(pool, 1, _NOW + 1)) < 0.05


def test_when_it_is_over() -> None:
    assert ramps_until(ramping(None, None)) == 0
    assert ramps_until(ramping(None, _NOW, _NOW - 5)) == _NOW + 10
    assert share(ramping(None, _NOW, slow_start=0), 1, _NOW) == 1
