from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.least_conn import LeastConn
from kubelb.balance.round_robin import RoundRobin
from tests.pure.balance.pools import a_pool, loads, subsets, weights

_RNG = random.Random(0)


@given(st.data(), weights)
def test_no_other_eligible_server_has_a_lower_load(data: st.DataObject, weights: list[int]) -> None:
    selector = LeastConn(a_pool("least_conn", weights).servers)
    for _ in range(5):
        allowed, conns = data.draw(subsets(len(weights))), data.draw(loads(len(weights)))
        load = {position: Fraction(conns[position], weights[position]) for position in allowed}
        assert load[selector.pick(allowed, conns, b"", _RNG)] == min(load.values())


@given(weights)
def test_sessions_that_stay_are_spread_by_weight(weights: list[int]) -> None:
    selector = LeastConn(a_pool("least_conn", weights).servers)
    conns = [0] * len(weights)
    for _ in range(3 * sum(weights)):
        conns[selector.pick(range(len(weights)), conns, b"", _RNG)] += 1
    assert conns == [3 * weight for weight in weights]


@given(weights)
def test_servers_that_tie_take_turns_by_weight(weights: list[int]) -> None:
    servers = a_pool("least_conn", weights).servers
    selector, turns = LeastConn(servers), RoundRobin(servers)
    everybody, idle = range(len(weights)), [0] * len(weights)
    picks = [selector.pick(everybody, idle, b"", _RNG) for _ in range(sum(weights))]
    assert picks == [turns.turn(everybody) for _ in picks]
    assert Counter(picks) == dict(enumerate(weights))
