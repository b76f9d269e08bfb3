from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.round_robin import RoundRobin
from tests.pure.balance.nginx import RoundRobinPeers
from tests.pure.balance.pools import a_pool, a_server, subsets, weights

_RNG = random.Random(0)


def _picks(selector: RoundRobin, allowed: list[int], times: int) -> list[int]:
    return [selector.pick(allowed, [], b"", _RNG) for _ in range(times)]


@given(weights)
def test_each_server_gets_exactly_its_weight_in_a_cycle(weights: list[int]) -> None:
    selector = RoundRobin(a_pool("round_robin", weights).servers)
    everybody = list(range(len(weights)))
    first, second = (_picks(selector, everybody, sum(weights)) for _ in range(2))
    assert Counter(first) == dict(enumerate(weights))
    assert first == second


@given(st.data(), weights)
def test_the_order_is_that_of_nginx_whoever_is_eligible(data: st.DataObject, weights: list[int]) -> None:
    selector, reference = RoundRobin(a_pool("round_robin", weights).servers), RoundRobinPeers(weights)
    for allowed in data.draw(st.lists(subsets(len(weights)), max_size=30)):
        assert selector.turn(allowed) == reference.get_peer(allowed)


@given(st.data(), weights)
def test_only_the_eligible_share_while_others_are_away(data: st.DataObject, weights: list[int]) -> None:
    allowed = data.draw(subsets(len(weights)))
    selector = RoundRobin(a_pool("round_robin", weights).servers)
    cycle = sum(weights[position] for position in allowed)
    assert Counter(_picks(selector, allowed, cycle)) == {position: weights[position] for position in allowed}


def test_heavy_servers_do_not_come_in_a_row() -> None:
    servers = [a_server(number, weight=weight) for number, weight in enumerate([5, 1, 1])]
    # The example of nginx's change that brought the algorithm, 52327e0627f4: { a, a, b, a, c, a, a }.
    assert _picks(RoundRobin(servers), [0, 1, 2], 7) == [0, 0, 1, 0, 2, 0, 0]
