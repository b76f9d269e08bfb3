from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.health.schedule import QUICK, pause
from kubelb.snapshot import Condition, State

states: st.SearchStrategy[State] = st.sampled_from(["unknown", "up", "suspect", "down", "draining"])
conditions = st.builds(Condition, state=states, since=st.floats(0, 1e4), fails=st.integers(0, 100))
intervals = st.floats(0.05, 3600)
chances = st.floats(0, 1, exclude_max=True)


@given(conditions, intervals, st.integers(1, 5), st.floats(0, 1e6), chances)
def test_is_bounded(condition: Condition, interval: float, fall: int, now: float, chance: float) -> None:
    assert 0.04 <= pause(condition, interval, fall, now, chance) <= max(interval, 10.0)


@given(intervals, chances, st.floats(0, 1e6))
def test_a_good_server_is_looked_at_every_interval_or_a_little_sooner(
    interval: float, chance: float, now: float
) -> None:
    for state in ("unknown", "up", "draining"):
        assert 0.8 * interval <= pause(Condition(state=state), interval, 2, now, chance) <= interval


@given(intervals, chances, st.integers(0, 4))
def test_doubt_is_settled_at_once(interval: float, chance: float, fails: int) -> None:
    doubted = Condition(state="suspect", fails=fails)
    assert pause(doubted, interval, 5, 1.0, chance) == min(QUICK, interval)
    settled = Condition(state="suspect", fails=5)
    assert pause(settled, interval, 5, 1.0, chance) >= 0.8 * interval


@given(intervals, st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_longer_it_is_down_the_less_it_is_looked_at(interval: float, one: float, other: float) -> None:
    sooner, later = sorted((one, other))
    down = Condition(state="down", since=0.0, fails=9)
    assert pause(down, interval, 2, sooner, 0.5) <= pause(down, interval, 2, later, 0.5)
    assert pause(down, interval, 2, 59, 0.0) == interval


@pytest.mark.parametrize(
    ("interval", "waits"),
    [(1.0, [1, 1, 2, 2, 4, 8, 10, 10]), (5.0, [5, 5, 10, 10, 10, 10, 10, 10]), (30.0, [30] * 8), (0.05, [0.05] * 2)],
)
@pytest.mark.parametrize("state", ["down", "suspect"])
def test_each_minute_of_failures_doubles_the_interval_up_to_ten_seconds(
    state: State, interval: float, waits: list[float]
) -> None:
    condition = Condition(state=state, since=100.0, fails=2)
    for seconds, wait in zip((0, 59.9, 60, 119.9, 120, 180, 240, 1e6), waits, strict=False):
        assert pause(condition, interval, 2, 100.0 + seconds, 0.0) == wait


def test_a_fifth_of_an_interval_is_left_to_chance() -> None:
    assert [pause(Condition(state="up"), 10.0, 2, 0.0, chance) for chance in (0.0, 0.5, 0.75)] == [10, 9, 8.5]


def test_a_server_in_doubt_is_looked_at_every_tenth_of_a_second() -> None:
    assert pause(Condition(state="suspect"), 5.0, 2, 0.0, 0.5) == 0.1
    assert pause(Condition(state="suspect"), 0.05, 2, 0.0, 0.5) == 0.05


def test_a_state_that_is_newer_than_now_has_lasted_no_time() -> None:
    assert pause(Condition(state="down", since=1000.0), 1.0, 2, 0.0, 0.0) == 1.0
