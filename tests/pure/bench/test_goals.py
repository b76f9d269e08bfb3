from __future__ import annotations

import pytest

from bench.cases.catalogue import CASES
from bench.goals import GOALS, Goal, goal_for
from bench.peers.catalogue import BASELINE, SUBJECTS, VARIANTS


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.case}-{goal.metric}-{goal.subject}")
def test_every_goal_is_measured(goal: Goal) -> None:
    (case,) = [case for case in CASES if case.name == goal.case]
    assert goal.metric in [metric.name for metric in case.metrics]
    assert goal.subject in [peer.name for peer in VARIANTS]
    assert goal_for(goal.case, goal.metric, goal.subject) is goal
    assert (goal.at_least is None) != (goal.at_most is None)


def test_names_are_unlike() -> None:
    for names in ([case.name for case in CASES], [peer.name for peer in (BASELINE, *SUBJECTS)]):
        assert len(names) == len(set(names))


def test_bounds_hold_at_themselves_and_not_beyond() -> None:
    faster = Goal(case="c", metric="m", at_least=1.1)
    assert faster.reached(1.1, 0)
    assert not faster.reached(1.0999, 5)
    smaller = Goal(case="c", metric="m", at_most=0.3)
    assert smaller.reached(0.3, 9)
    assert not smaller.reached(0.3001, 0)
    assert (str(faster), str(smaller)) == ("≥ 1.1x", "≤ 0.3x")


def test_a_goal_on_the_value_needs_no_ratio_and_one_on_the_ratio_does() -> None:
    alone = Goal(case="c", metric="m", at_most=45, of="value")
    assert alone.reached(None, 45)
    assert not alone.reached(0.1, 45.1)
    assert str(alone) == "≤ 45"
    assert not Goal(case="c", metric="m", at_most=1.0).reached(None, 0.5)
