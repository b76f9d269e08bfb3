"""How many clients may have a second server, whenever they come."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kubelb.worker.retry_budget import LEAST, SHARE, WINDOW, RetryBudget

_steps = st.lists(st.tuples(st.floats(0, 4), st.integers(0, 60), st.integers(0, 30)), max_size=60)
"""Seconds since the step before, clients that come, second servers that are wanted."""


@given(_steps)
def test_never_more_than_a_share_and_always_a_few(steps: list[tuple[float, int, int]]) -> None:
    budget, now = RetryBudget(), 0.0
    came, spent = Counter[float](), Counter[float]()
    for pause, clients, wanted in steps:
        now += pause
        budget.came(clients, now)
        came[now] += clients
        granted = 0
        for _ in range(wanted):
            if budget.has_room(now):
                budget.spend(now)
                granted += 1
        spent[now] += granted
        lately = sum(count for at, count in came.items() if at > now - WINDOW)
        used = sum(count for at, count in spent.items() if at > now - WINDOW)
        allowed = max(LEAST, int(lately * SHARE + 1e-9))
        assert not granted or used <= allowed
        assert granted == wanted or used >= allowed


@given(st.integers(1, 500))
def test_nothing_is_kept_of_what_is_over(looks: int) -> None:
    budget = RetryBudget()
    for look in range(looks):
        budget.came(1, look * WINDOW / 10)
        budget.spend(look * WINDOW / 10)
    assert len(budget._came) <= 10
    assert len(budget._spent) <= 10
