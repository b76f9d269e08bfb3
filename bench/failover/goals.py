"""What kubelb is to reach when servers fail; pure. A goal missed is shown as missed."""

from __future__ import annotations

from bench.failover.reading import (
    CUT,
    CUT_OTHERS,
    ERROR,
    FAILED,
    FORBIDDEN,
    GAP,
    MAX,
    P99,
    REFUSED,
    SENT_LATE,
    SENT_THERE,
    SERVED,
    SERVED_AGAIN,
    TRANSFERS_CUT,
    UNEVEN,
)
from bench.goals import Goal

_PROBING = ("kubelb",)
_BOTH = ("kubelb", "kubelb-nginx")
"""What is to be had without probes, too."""


def _goals(subjects: tuple[str, ...], scenarios: tuple[str, ...], figure: str, at_most: float) -> list[Goal]:
    """Where nothing at all may fail, in no round may it."""
    return [
        Goal(case=scenario, metric=figure, subject=subject, at_most=at_most, of="value" if at_most else "highest")
        for scenario in scenarios
        for subject in subjects
    ]


_LOADED = ("slow", "slower")
_LOSSY = ("loss-1", "loss-5")
_CLOSED = ("accept", "syn")
_AWAY = ("hang-all", "switch-3", "switch-6", "switch-20", "link-6")
_WITHOUT_ETCD = ("etcd-10", "etcd-75")
_LEAVING = ("shutdown-0", "shutdown-4")

GOALS: tuple[Goal, ...] = (
    *_goals(_BOTH, ("killed",), GAP, 200),
    *_goals(_BOTH, ("killed", "power-off"), REFUSED, 0),
    *_goals(_BOTH, ("power-off",), SERVED_AGAIN, 1.2),
    *_goals(_BOTH, ("power-off",), P99, 300),
    *_goals(_BOTH, ("power-off", "syn"), MAX, 600),
    *_goals(_PROBING, ("drain",), FAILED, 0),
    *_goals(_PROBING, ("drain",), SENT_THERE, 0),
    *_goals(_PROBING, ("back",), SERVED, 1),
    *_goals(_PROBING, ("vanished",), ERROR, 2.2),
    *_goals(_PROBING, ("sessions",), UNEVEN, 10),
    *_goals(_BOTH, (*_LOADED, *_LOSSY, *_CLOSED, *_AWAY, *_WITHOUT_ETCD), CUT, 0),
    *_goals(_BOTH, (*_LOSSY, "syn"), REFUSED, 0),
    *_goals(_PROBING, ("accept",), REFUSED, 0),
    *_goals(_PROBING, ("accept",), MAX, 600),
    *_goals(_PROBING, ("hang",), SERVED_AGAIN, 6),
    *_goals(_BOTH, ("hang",), CUT_OTHERS, 0),
    *_goals(_BOTH, _LEAVING, TRANSFERS_CUT, 0),
    *_goals(_PROBING, ("start",), FORBIDDEN, 0),
    *_goals(_PROBING, ("unready",), SENT_LATE, 0),
    *_goals(_PROBING, ("unready",), FAILED, 0),
)


def goal_for(scenario: str, figure: str, peer: str) -> Goal | None:
    """The goal of a peer's figure, where it has one."""
    return next((goal for goal in GOALS if (goal.case, goal.metric, goal.subject) == (scenario, figure, peer)), None)
