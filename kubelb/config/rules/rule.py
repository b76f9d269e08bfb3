"""What the rules for several settings share; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from kubelb.config.faults import Key, fault_of
from kubelb.config.values import Duration
from kubelb.reasons import ValueFault

MAX_DURATION: Final = Duration(10 * 366 * 86400)
"""Seconds; every timer of Python can still hold it."""

HASHING: Final = ("hash", "consistent_hash")
"""The ways of balancing that take a client to the same server each time."""

Problem = tuple[Key, str, str | None]
"""The setting, what is wrong with it, and what would be right."""


def duration_problems(key: Key, duration: Duration | None, zero: bool = False) -> Iterator[Problem]:
    """``zero``: that is a length of time too."""
    if duration is None or 0 < duration <= MAX_DURATION or (zero and not duration):
        return
    if zero:
        yield key, "too long", "write 0s or a time up to ten years"
    else:
        yield key, "zero or too long", "write a time above 0 and up to ten years"


def text_problems(key: Key, parse: Callable[[], object]) -> Iterator[Problem]:
    """What ``parse`` has to say against the setting's text, if it raises :class:`ValueFault`."""
    try:
        parse()
    except ValueFault as error:
        fault = fault_of(error)
        yield key, fault.what, fault.instead


def count_problems(key: Key, count: int) -> Iterator[Problem]:
    if count < 1:
        yield key, f"{count} is too few", "write 1 or more"
