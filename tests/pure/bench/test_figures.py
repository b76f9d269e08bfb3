from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from bench.figures import number, ratios, spread, turn

FIGURES = st.floats(min_value=1e-3, max_value=1e9)


@given(st.lists(FIGURES, min_size=1))
def test_a_spread_is_of_the_values_given(values: list[float]) -> None:
    found = spread(values)
    assert (found.low, found.high) == (min(values), max(values))
    assert 2 * sum(value < found.median for value in values) <= len(values)
    assert 2 * sum(value > found.median for value in values) <= len(values)


@given(st.lists(st.tuples(FIGURES, FIGURES)))
def test_ratios_are_taken_round_by_round(rounds: list[tuple[float, float]]) -> None:
    found = ratios([mine for mine, _ in rounds], [theirs for _, theirs in rounds])
    assert len(found) == len(rounds)
    assert all(math.isclose(r * theirs, mine) for r, (mine, theirs) in zip(found, rounds, strict=True))


def test_a_disturbance_both_sides_see_leaves_the_ratio_alone() -> None:
    assert ratios([50, 5, 50], [100, 10, 100]) == [0.5, 0.5, 0.5]


def test_rounds_without_a_counterpart_have_no_ratio() -> None:
    assert ratios([1, 2, 3], [2]) == [0.5]
    assert ratios([1, 2], [0, 4]) == [0.5]
    assert ratios([], [1]) == []


@given(st.lists(st.integers(), unique=True), st.integers(min_value=0))
def test_each_round_has_all_peers_once_in_the_other_order(peers: list[int], round_number: int) -> None:
    assert sorted(turn(peers, round_number)) == sorted(peers)
    assert turn(peers, round_number) == turn(peers, round_number + 1)[::-1]


def test_numbers_keep_what_matters() -> None:
    shown = {
        85123.4: "85,123",
        178.4: "178",
        18.26: "18.3",
        1.6312: "1.63",
        0.6193: "0.619",
        0.0072: "0.0072",
        0: "0",
    }
    assert {value: number(value) for value in shown} == shown
    assert number(-2.5) == "-2.50"


@given(st.floats(min_value=1e-4, max_value=1e12))
def test_a_number_reads_back_within_its_digits(value: float) -> None:
    assert math.isclose(float(number(value).replace(",", "")), value, rel_tol=0.0051)
