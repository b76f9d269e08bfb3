"""What kubelb is to reach; pure. A goal missed is shown as missed."""

from __future__ import annotations

from typing import Literal

import msgspec


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound on one figure of one subject."""

    case: str
    metric: str
    subject: str = "default"
    at_least: float | None = None
    at_most: float | None = None
    of: Literal["ratio", "value", "highest"] = "ratio"
    """Of the median ratio to nginx, of the median itself, or of the highest value of all rounds."""

    def reached(self, ratio: float | None, value: float) -> bool:
        """Whether the median ratio, or the value, is within the bound; without a ratio, one on it is not reached."""
        figure = ratio if self.of == "ratio" else value
        if figure is None:
            return False
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= figure <= high

    def __str__(self) -> str:
        unit = "x" if self.of == "ratio" else ""
        parts = [f"≥ {self.at_least:g}{unit}"] if self.at_least is not None else []
        parts += [f"≤ {self.at_most:g}{unit}"] if self.at_most is not None else []
        return " and ".join(parts)


GOALS = (
    Goal(case="keepalive-1", metric="p50 µs", at_most=1.05),
    Goal(case="keepalive-1-neighbour", metric="p50 µs", at_most=1.05),
    Goal(case="keepalive-16", metric="req/s", at_least=1.0),
    Goal(case="keepalive-16", metric="req/s", at_least=1.1, subject="pin"),
    Goal(case="keepalive-128", metric="req/s", at_least=1.0),
    Goal(case="keepalive-128", metric="req/s", at_least=1.1, subject="pin"),
    Goal(case="reply-64k", metric="req/s", at_least=1.1),
    Goal(case="bulk", metric="GB/s", at_least=1.7),
    Goal(case="bulk", metric="CPU s/GB", at_most=0.4),
    Goal(case="connections", metric="conn/s", at_least=0.8),
    Goal(case="memory", metric="KB/idle session", at_most=0.3),
    Goal(case="memory", metric="idle MB", at_most=45, of="value"),
    Goal(case="start", metric="s", at_most=0.5, of="value"),
)


def goal_for(case: str, metric: str, subject: str) -> Goal | None:
    """The goal of a figure, where it has one."""
    return next((g for g in GOALS if (g.case, g.metric, g.subject) == (case, metric, subject)), None)
