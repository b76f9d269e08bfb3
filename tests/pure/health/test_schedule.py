from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.health.schedule import QUICK, is_in_doubt, pause
from kubelb.snapshot import Condition, Finding, State

states: st.SearchStrategy[State] = st.sampled_from(["unknown", "up", "suspect", "down", "draining"])
conditions = st.builds(Condition, state=states, since=st.floats(0, 1e4))
intervals = st.floats(0.05, 3600)
chances = st.floats(0, 1, exclude_max=True)
haste = st.none() | st.integers(0, 1000)


@given(conditions, intervals, haste, st.floats(0, 1e6), chances)
def test_is_bounded(condition: Condition, interval: float, hasty: int | None, now: float, chance: float) -> None:
    assert 0.04 <= pause(condition, interval, hasty, now, chance) <= 1.1 * max(interval, 10.0)


@given(intervals, chances, st.floats(0, 1e6))
def test_without_haste_a_server_is_looked_at_about_every_interval(interval: float, chance: float, now: float) -> None:
    for state in ("unknown", "up", "draining"):
        assert 0.9 * interval <= pause(Condition(state=state), interval, None, now, chance) <= 1.1 * interval


def test_only_a_good_server_is_in_no_doubt() -> None:
    assert [is_in_doubt(Condition(state=state)) for state in ("unknown", "up", "suspect", "down", "draining")] == [
        *(False, False),
        *(True, True, True),
    ]


@given(conditions, intervals, st.integers(0, 3), st.floats(0, 1e6))
def test_haste_is_quick_at_first(condition: Condition, interval: float, hasty: int, now: float) -> None:
    assert pause(condition, interval, hasty, now, 0.5) == min(QUICK, pause(condition, interval, None, now, 0.5))


@given(conditions, intervals, st.floats(0, 1e6))
def test_haste_that_goes_on_doubles_until_there_is_none(condition: Condition, interval: float, now: float) -> None:
    waits = [pause(condition, interval, hasty, now, 0.5) for hasty in range(3, 30)]
    unhurried = pause(condition, interval, None, now, 0.5)
    assert all(later == min(2 * sooner, unhurried) for sooner, later in pairwise(waits))
    assert waits[-1] == unhurried


@given(intervals, st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_longer_it_is_down_the_less_it_is_looked_at(interval: float, one: float, other: float) -> None:
    sooner, later = sorted((one, other))
    down = Condition(state="down", since=0.0)
    assert pause(down, interval, None, sooner, 0.5) <= pause(down, interval, None, later, 0.5)
    assert pause(down, interval, None, 59, 0.5) == interval


@pytest.mark.parametrize(
    ("interval", "waits"),
    [(1.0, [1, 1, 2, 2, 4, 8, 10, 10]), (5.0, [5, 5, 10, 10, 10, 10, 10, 10]), (30.0, [30] * 8), (0.05, [0.05] * 2)],
)
@pytest.mark.parametrize("state", ["down", "suspect"])
@pytest.mark.parametrize("hasty", [None, 20])
def test_each_minute_of_failures_doubles_the_interval_up_to_ten_seconds(
    state: State, interval: float, waits: list[float], hasty: int | None
) -> None:
    condition = Condition(state=state, since=100.0)
    for seconds, wait in zip((0, 59.9, 60, 119.9, 120, 180, 240, 1e6), waits, strict=False):
        assert pause(condition, interval, hasty, 100.0 + seconds, 0.5) == wait


def test_a_fifth_of_a_pause_is_left_to_chance() -> None:
    assert [pause(Condition(state="up"), 10.0, None, 0.0, chance) for chance in (0.0, 0.5, 0.75)] == [9, 10, 10.5]
    assert pause(Condition(state="up"), 10.0, 0, 0.0, 0.0) == pytest.approx(0.09)


@pytest.mark.parametrize("finding", ["not ready", "forbidden"])
@pytest.mark.parametrize("state", ["suspect", "draining"])
def test_a_server_that_has_said_that_it_is_not_ready_leaves_no_doubt_until_it_fails(
    state: State, finding: Finding
) -> None:
    said = Condition(state=state, finding=finding)
    assert not is_in_doubt(said)
    assert is_in_doubt(msgspec.structs.replace(said, fails=1))


def test_a_state_that_is_newer_than_now_has_lasted_no_time() -> None:
    assert pause(Condition(state="down", since=1000.0), 1.0, None, 0.0, 0.5) == 1.0
