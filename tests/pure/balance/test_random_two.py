from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.random_two import Random, RandomTwo
from tests.pure.balance.pools import Drawn, a_pool, loads, seeds, subsets, weights


def test_random_goes_by_weight() -> None:
    selector, rng = Random(a_pool("random", [1, 2, 7]).servers), random.Random(1)
    counts = Counter(selector.pick([0, 1, 2], [0] * 3, b"", rng) for _ in range(10_000))
    for position, weight in enumerate([1, 2, 7]):
        assert abs(counts[position] - 1000 * weight) < 200


@given(st.data(), weights, seeds)
def test_the_busiest_of_all_is_never_taken_by_random_two(
    data: st.DataObject, weights: list[int], rng: random.Random
) -> None:
    allowed = data.draw(subsets(len(weights)).filter(lambda positions: len(positions) > 1))
    busiest = data.draw(st.sampled_from(allowed))
    conns = [100 * weight if position == busiest else weight for position, weight in enumerate(weights)]
    selector = RandomTwo(a_pool("random_two", weights).servers)
    assert all(selector.pick(allowed, conns, b"", rng) != busiest for _ in range(20))


def test_random_two_reaches_every_server() -> None:
    selector, rng = RandomTwo(a_pool("random_two", [1, 1, 5]).servers), random.Random(1)
    assert {selector.pick([0, 1, 2], [0] * 3, b"", rng) for _ in range(200)} == {0, 1, 2}


@given(st.data(), weights.filter(lambda weights: len(weights) > 1), seeds)
def test_the_less_loaded_of_two_is_taken(data: st.DataObject, weights: list[int], rng: random.Random) -> None:
    two = data.draw(st.permutations(range(len(weights))))[:2]
    conns = data.draw(loads(len(weights)))
    load = {position: Fraction(conns[position], weights[position]) for position in two}
    selector = RandomTwo(a_pool("random_two", weights).servers)
    assert load[selector.pick(sorted(two), conns, b"", rng)] == min(load.values())


def test_of_two_that_are_loaded_alike_the_second_drawn_is_taken_as_in_nginx() -> None:
    selector = RandomTwo(a_pool("random_two", [1, 2]).servers)
    assert selector.pick([0, 1], [2, 4], b"", Drawn(0.1)) == 1
    assert selector.pick([0, 1], [2, 4], b"", Drawn(0.9)) == 0


def test_the_only_choice_is_taken() -> None:
    for kind in (Random, RandomTwo):
        assert kind(a_pool("random", [1, 2, 3]).servers).pick([2], [0, 0, 9], b"", Drawn(0.5)) == 2


def test_a_draw_belongs_to_the_server_whose_share_begins_there() -> None:
    selector = Random(a_pool("random", [1, 1, 2]).servers)
    picks = [selector.pick([0, 1, 2], [0] * 3, b"", Drawn(number)) for number in (0.0, 0.24, 0.25, 0.5, 0.99)]
    assert picks == [0, 0, 1, 2, 2]


def test_a_draw_that_rounds_up_to_all_weights_is_the_last_server() -> None:
    assert Random(a_pool("random", [1, 2, 1]).servers).pick([0, 1, 2], [0] * 3, b"", Drawn(1.0)) == 2
