"""The table, in Markdown; pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.failover.goals import goal_for
from bench.failover.reading import Figure
from bench.failover.results import FailoverRun, Outcome
from bench.figures import number, spread
from bench.goals import Goal
from bench.report import table

_NONE = "–"

_NOTES = (
    "A node, a switch and three apiservers, each in a network namespace of its own; 30 keep-alive TLS clients on the "
    "node, each with a request 100 ms after the last reply, and a new TLS connection every 50 ms, timed from connect "
    "to reply. Killed is SIGKILL; powered off is packets vanishing unanswered; a graceful shutdown is 10 s of 500 on "
    "/readyz while all else is served, then an end that closes each connection with its last reply. All killed: for "
    "3 s. A new connection counts if it was begun once the harm was done. Requests wait for ever, new connections "
    "35 s; ≥ marks what was still going on when the measurement ended. Sessions are idle connections that redial "
    "when cut; one server is killed for 3 s.",
    'kubelb runs with its defaults (and, for the long-lived sessions, `rebalance = { every = "1s", threshold = 0.1, '
    "at_most = 1 }`), nginx and HAProxy with the files that RKE and kubespray write, the tuned HAProxy with kubelb's "
    "probes (/readyz each 1 s, fall 2, rise 1), a connect timeout of 250 ms, redispatch at each retry and "
    "`on-marked-down shutdown-sessions`.",
)


def markdown(run: FailoverRun) -> str:
    """The whole report: table, what went wrong, how it was made."""
    first, *others = run.peers
    header = ["", run.peers[first], "goal", "reached", *(run.peers[peer] for peer in others)]
    rows = [_row(outcome, figure, first, others) for outcome in run.outcomes for figure in outcome.figures]
    made = (
        f"Median of {run.rounds} interleaved rounds{' (quick: shorter looks)' if run.quick else ''}, "
        f"[lowest..highest]. Made by `{run.command}` on {run.machine}, HAProxy {run.haproxy}."
    )
    return "\n\n".join([table(header, rows), *_troubles(run), made, *_NOTES]) + "\n"


def _row(outcome: Outcome, figure: str, first: str, others: Sequence[str]) -> list[str]:
    mine = _figures(outcome, first, figure)
    goal = goal_for(outcome.name, figure, first)
    return [
        f"{outcome.title}: {figure}",
        cell(mine),
        str(goal) if goal else "",
        verdict(goal, mine),
        *(cell(_figures(outcome, peer, figure)) for peer in others),
    ]


def cell(figures: Sequence[Figure]) -> str:
    """Median and extremes; the extremes only where they differ as shown."""
    if not figures:
        return _NONE
    values = spread([figure.value for figure in figures])
    low, median, high = (_at_least(figures, value) for value in (values.low, values.median, values.high))
    return median if low == high else f"{median} [{low}..{high}]"


def verdict(goal: Goal | None, figures: Sequence[Figure]) -> str:
    """Whether the goal is reached; a figure missing reaches none."""
    if goal is None:
        return ""
    if not figures:
        return "**no**"
    values = spread([figure.value for figure in figures])
    reached = goal.reached(None, values.high if goal.of == "highest" else values.median)
    return "yes" if reached else "**no**"


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
