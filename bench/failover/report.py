"""The table, in Markdown; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.failover.goals import goal_for
from bench.failover.notes import NOTES
from bench.failover.reading import Figure
from bench.failover.results import FailoverRun, Outcome
from bench.figures import number, spread
from bench.goals import Goal
from bench.report import table

_NONE = "–"


def markdown(run: FailoverRun) -> str:
    """The whole report: table, what went wrong, how it was made."""
    header = ["", "goal", *run.peers.values()]
    rows = [_row(outcome, figure, run.peers) for outcome in run.outcomes for figure in outcome.figures]
    made = (
        f"Median of {run.rounds} interleaved rounds{' (quick: shorter looks)' if run.quick else ''}, "
        f"[lowest..highest]. Made by `{run.command}` on {run.machine}, HAProxy {run.haproxy}, Envoy {run.envoy}."
    )
    return "\n\n".join([table(header, rows), *_troubles(run), made, *NOTES]) + "\n"


def _row(outcome: Outcome, figure: str, peers: Iterable[str]) -> list[str]:
    goals = {peer: goal for peer in peers if (goal := goal_for(outcome.name, figure, peer))}
    bounds = dict.fromkeys(map(str, goals.values()))
    return [
        f"{outcome.title}: {figure}",
        ", ".join(bounds),
        *(judged(goals.get(peer), _figures(outcome, peer, figure)) for peer in peers),
    ]


def judged(goal: Goal | None, figures: Sequence[Figure]) -> str:
    """The cell, and whether the goal was missed, where there is one; a figure that lacks reaches none."""
    text = cell(figures)
    return text if goal is None or _reached(goal, figures) else f"{text} **missed**"


def cell(figures: Sequence[Figure]) -> str:
    """Median and extremes; the extremes only where they differ as shown."""
    if not figures:
        return _NONE
    values = spread([figure.value for figure in figures])
    low, median, high = (_at_least(figures, value) for value in (values.low, values.median, values.high))
    return median if low == high else f"{median} [{low}..{high}]"


def _reached(goal: Goal, figures: Sequence[Figure]) -> bool:
    if not figures:
        return False
    values = spread([figure.value for figure in figures])
    return goal.reached(None, values.high if goal.of == "highest" else values.median)


def _at_least(figures: Sequence[Figure], value: float) -> str:
    """Marked where a round that was still growing reached no more than that."""
    still_growing = any(figure.open and figure.value <= value for figure in figures)
    text = f"{value:.0f}" if value == int(value) else number(value)
    return f"≥ {text}" if still_growing else text


def _figures(outcome: Outcome, peer: str, figure: str) -> list[Figure]:
    return [found[figure] for found in outcome.rounds.get(peer, [])]


def _troubles(run: FailoverRun) -> list[str]:
    return [
        f"**{outcome.name}, {peer}: not measured:** {why}"
        for outcome in run.outcomes
        for peer, why in outcome.failures.items()
    ]
