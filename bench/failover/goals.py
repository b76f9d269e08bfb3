"""What kubelb is to reach when servers fail; pure. A goal missed is shown as missed."""

from __future__ import annotations

from bench.failover.reading import (
    ERROR,
    FAILED,
    GAP,
    MAX,
    P99,
    REFUSED,
    SENT_THERE,
    SERVED,
    SERVED_AGAIN,
    UNEVEN,
)
from bench.goals import Goal


def _goal(scenario: str, figure: str, at_most: float) -> Goal:
    """Where nothing at all may fail, in no round may it."""
    return Goal(case=scenario, metric=figure, subject="kubelb", at_most=at_most, of="value" if at_most else "highest")


GOALS = (
    _goal("killed", GAP, 200),
    _goal("killed", REFUSED, 0),
    _goal("power-off", SERVED_AGAIN, 3),
    _goal("power-off", REFUSED, 0),
    _goal("power-off", P99, 300),
    _goal("power-off", MAX, 600),
    _goal("drain", FAILED, 0),
    _goal("drain", SENT_THERE, 0),
    _goal("back", SERVED, 1),
    _goal("vanished", ERROR, 2.2),
    _goal("sessions", UNEVEN, 10),
)


def goal_for(scenario: str, figure: str, peer: str) -> Goal | None:
    """The goal of a peer's figure, where it has one."""
    return next((goal for goal in GOALS if (goal.case, goal.metric, goal.subject) == (scenario, figure, peer)), None)
