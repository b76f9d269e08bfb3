"""The history of servers: rates out of counters, and no more than is kept."""

from __future__ import annotations

import math
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.control.history import EVERY, KEPT, History, Trail
from kubelb.snapshot import State
from tests.pure.control.pictures import a_server, a_status

KEY = ("api", "10.0.0.1:6443", "10.0.0.1:6443")
growth = st.tuples(st.floats(0.5, 10), st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**9))


def test_rates_are_growth_by_time() -> None:
    first = History().and_then(a_status(a_server(opened=10, bytes_up=100, bytes_down=1000)), 50.0)
    assert first.trail(KEY) == Trail()
    later = a_server(state="down", active=4, opened=13, bytes_up=400, bytes_down=1000)
    trail = first.and_then(a_status(later), 52.0).trail(KEY)
    assert trail.states == ("down",)
    assert [list(column) for column in (trail.active, trail.opened, trail.up, trail.down)] == [[4], [1.5], [150], [0]]


@given(st.lists(growth, min_size=1, max_size=20))
def test_what_was_counted_is_what_the_rates_add_up_to(growths: list[tuple[float, int, int, int]]) -> None:
    history = History().and_then(a_status(a_server()), 0.0)
    now, opened, up, down = 0.0, 0, 0, 0
    for seconds, more_opened, more_up, more_down in growths:
        now, opened, up, down = now + seconds, opened + more_opened, up + more_up, down + more_down
        history = history.and_then(a_status(a_server(opened=opened, bytes_up=up, bytes_down=down)), now)
    trail = history.trail(KEY)
    for column, counted in ((trail.opened, opened), (trail.up, up), (trail.down, down)):
        summed = sum(rate * seconds for rate, (seconds, *_) in zip(column, growths, strict=True))
        assert math.isclose(summed, counted, rel_tol=1e-5)


@given(st.lists(st.sampled_from(typing.get_args(State)), min_size=1, max_size=2 * KEPT))
def test_the_newest_are_kept_and_no_more(states: list[State]) -> None:
    history = History().and_then(a_status(a_server()), 0.0)
    for number, state in enumerate(states, 1):
        history = history.and_then(a_status(a_server(state=state, active=number)), number * EVERY)
    trail = history.trail(KEY)
    assert trail.states == tuple(states[-KEPT:])
    assert list(trail.active) == list(range(1, len(states) + 1))[-KEPT:]
    assert {len(column) for column in (trail.opened, trail.up, trail.down)} == {len(trail.states)}


def test_who_is_gone_is_forgotten_and_begins_anew() -> None:
    one, other = a_server(active=1), a_server("10.0.0.2:6443")
    history = History()
    for now, servers in enumerate([(one, other), (one, other), (other,), (one, other)]):
        history = history.and_then(a_status(*servers), float(now))
    assert history.trail(KEY) == Trail()
    assert len(history.trail(("api", "10.0.0.2:6443", "10.0.0.2:6443")).states) == 3


def test_the_same_name_in_another_pool_is_another_server() -> None:
    history = History().and_then(a_status(a_server(), pool="a"), 0.0).and_then(a_status(a_server(), pool="b"), 1.0)
    assert not history.trails


def test_a_counter_that_begins_anew_is_no_rate_below_zero() -> None:
    history = History().and_then(a_status(a_server(opened=100)), 0.0).and_then(a_status(a_server(opened=1)), 1.0)
    assert list(history.trail(KEY).opened) == [0]


def test_a_history_is_a_value() -> None:
    before = History().and_then(a_status(a_server()), 0.0).and_then(a_status(a_server()), 1.0)
    kept = list(before.trail(KEY).active)
    before.and_then(a_status(a_server(active=5)), 2.0)
    assert list(before.trail(KEY).active) == kept
    with pytest.raises(AttributeError):
        before.at = 3.0  # type: ignore[misc]
