from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.random_two import Random, RandomTwo
from tests.pure.balance.pools import a_pool, seeds, subsets, weights


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


def test_a_draw_that_rounds_up_to_all_weights_is_the_last_server() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    assert Random(a_pool("random", [1, 2]).servers).pick([0, 1], [0, 0], b"", Highest()) == 1
