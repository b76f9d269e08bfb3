"""Medians, spreads and ratios of rounds; pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Spread(msgspec.Struct, frozen=True):
    """A median and the extremes it lies between."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratios(subject: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Subject over baseline, round by round: what disturbs the machine for a while disturbs both sides of a ratio.

    A round only one of them finished, or in which the baseline's figure is nought, has no ratio.
    """
    return [mine / theirs for mine, theirs in zip(subject, baseline, strict=False) if theirs > 0]


def turn(peers: Sequence[T], round_number: int) -> list[T]:
    """The order of a round: every other one runs backwards, so no peer always follows the same one."""
    return list(peers) if round_number % 2 == 0 else list(reversed(peers))


_DIGITS = 3


def number(value: float) -> str:
    """Three significant digits, thousands apart; digits before the point are never dropped."""
    if abs(value) < 1:
        return f"{value:.{_DIGITS}g}"
    whole = len(str(int(abs(value))))
    return f"{value:,.{max(0, _DIGITS - whole)}f}"
