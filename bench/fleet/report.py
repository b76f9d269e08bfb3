"""The table, in Markdown; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.figures import number
from bench.fleet.goals import PROBES, SUBJECT, reached
from bench.fleet.results import Figures, FleetRun
from bench.report import table

_LEAST_OF_ALL = "no more than others"
_ROWS: Mapping[str, tuple[str, str, Callable[[Figures], str]]] = {
    "peak": (
        "peak handshakes/s of clients, all survivors",
        _LEAST_OF_ALL,
        lambda figures: f"{figures.peak:,}",
    ),
    "peak_one": ("the same on one server", "", lambda figures: f"{figures.peak_one:,}"),
    "peak_with_probes": ("the same with those of probes, all", "", lambda figures: f"{figures.peak_with_probes:,}"),
    "outage": (
        "until 99% of nodes are served again, s",
        "",
        lambda figures: f"{'≥ ' if figures.open else ''}{number(figures.outage)}",
    ),
    "needless": ("sessions cut without need", _LEAST_OF_ALL, lambda figures: f"{figures.needless:,}"),
    "probes": ("probes/s a node and server", f"≤ {PROBES:g}", lambda figures: f"{figures.probes:.3f}"),
    "probes_peak": ("the same in the worst second", "", lambda figures: f"{figures.probes_peak:.2f}"),
    "worst_wait": ("longest wait for a core, s", "", lambda figures: number(figures.worst_wait)),
}
"""By field: what it is called, kubelb's goal, and how it is shown."""


def markdown(run: FleetRun) -> str:
    """The whole report: table, and how it was made."""
    header = ["", "goal", *run.peers.values()]
    rows = [
        [f"{title}: {name}", goal, *_cells(field, show, run.figures[scenario], list(run.peers))]
        for scenario, title in run.scenarios.items()
        for field, (name, goal, show) in _ROWS.items()
    ]
    took = sum(figures.seconds for by_peer in run.figures.values() for figures in by_peer.values())
    made = (
        f"{run.nodes:,} nodes with {run.sessions} sessions each, three apiservers with {run.cores} cores each, seed "
        f"{run.seed}. Made by `{run.command}` in {took:.0f} CPU seconds."
    )
    return f"{table(header, rows)}\n\n{made}\n"


def _cells(field: str, show: Callable[[Figures], str], figures: Mapping[str, Figures], peers: list[str]) -> list[str]:
    missed = reached(field, figures) is False
    cells = {peer: show(figures[peer]) for peer in peers}
    if missed:
        cells[SUBJECT] += " **missed**"
    return list(cells.values())
