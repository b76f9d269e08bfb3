"""A history as a small drawing, SVG within the page; pure.

It has a place for each look that is kept, the newest at the right, so that all of a page show the same moments one
below the other. Behind the line stands what state the server was in, where that was not a good one. Colours, and the
width of the line, are the style sheet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Final

from kubelb.control.history import KEPT
from kubelb.control.markup import Html, tag
from kubelb.snapshot import GOOD, State

WIDTH: Final = KEPT - 1
HEIGHT: Final = 60
"""In the drawing's own units, which the page stretches to the room there is."""
_MARGIN: Final = 3
"""Above the highest and below the lowest value, so that the line is not cut off."""
_OUTSIDE: Final = 9
"""So far outside the drawing lies what closes the area under the line."""


def sparkline(values: Sequence[float], states: Sequence[State], top: float, meaning: str) -> Html:
    """``values`` and ``states`` are as long as each other, at most :data:`KEPT`; ``top`` is the scale's upper end.

    ``meaning`` is said to who cannot see it, or points at it.
    """
    return tag(
        "svg",
        tag("title", meaning),
        *_bands(states),
        *([tag("path", d=_path([_y(value, top) for value in values]))] if values else []),
        class_="history",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
    )


def _bands(states: Sequence[State]) -> Iterator[Html]:
    x = KEPT - len(states)
    for state, run in groupby(states):
        width = len(list(run))
        if state not in GOOD:
            yield tag("rect", class_=state, x=x - 1, width=width, height=HEIGHT)
        x += width


def _y(value: float, top: float) -> int:
    share = min(1.0, value / top)
    return round(HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN))


def _path(heights: Sequence[int]) -> str:
    """Up from below the drawing, along the line and down again, so that filled it is the area under the line."""
    start = KEPT - len(heights) if len(heights) < KEPT else -_OUTSIDE
    begin = f"M{start} {HEIGHT + _OUTSIDE}V{heights[0]}H{KEPT - len(heights)}"
    return "".join((begin, *_steps(heights), f"h{_OUTSIDE}V{HEIGHT + _OUTSIDE}"))


def _steps(heights: Iterable[int]) -> Iterator[str]:
    """Runs of the same height are one step: most histories are mostly flat."""
    for change, run in groupby(after - before for before, after in pairwise(heights)):
        length = len(list(run))
        yield f"h{length}" if change == 0 else "l" + " ".join([f"1 {change}"] * length)
