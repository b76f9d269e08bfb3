"""What kubelb is to reach in a fleet; pure. A goal missed is shown as missed."""

from __future__ import annotations

from collections.abc import Mapping

from bench.fleet.results import Figures

SUBJECT = "kubelb"
OWN = (SUBJECT, "kubelb-nginx")
"""kubelb is not compared with itself under another configuration."""
_NOISE = 0.05
"""Two peaks that differ by less are the same: where servers close connections by themselves, chance decides."""
PROBES = 0.2
"""A second, node and server."""


def reached(figure: str, figures: Mapping[str, Figures]) -> bool | None:
    """Whether kubelb's figure is within its goal, given those of all by name; None: there is no goal for it."""
    mine = figures.get(SUBJECT)
    if mine is None:
        return None
    others = [other for name, other in figures.items() if name not in OWN]
    match figure:
        case "peak":
            return all(mine.peak <= other.peak * (1 + _NOISE) for other in others)
        case "needless":
            return all(mine.needless <= other.needless for other in others)
        case "probes":
            return round(mine.probes, 3) <= PROBES
        case _:
            return None
