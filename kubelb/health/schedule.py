"""When to look at a server again; pure."""

from __future__ import annotations

from kubelb.snapshot import GOOD, Condition, Finding

_SAID_SO: tuple[Finding, ...] = ("not ready", "forbidden")
"""What a server itself has answered."""
QUICK = 0.1
"""Seconds between two looks made in haste, at first."""
_AT_FIRST = 3
"""So many looks in haste are that quick; from then on the time between two doubles."""
_JITTER = 0.2
"""The part of a pause that is left to chance, so that nodes do not keep step: up to half of it more or less, for on
average it is the interval that was asked for."""
_PATIENCE = 60.0
"""Seconds of failures; for each of them the interval doubles."""
_LONGEST = 10.0
"""Seconds; unless the configured interval is longer anyway."""
_DOUBLINGS = 16
"""At most; no interval is that long."""


def is_in_doubt(condition: Condition) -> bool:
    """Whether to look at it in haste. One whose newest answer was that it is not ready, or that it does not know its
    clients, leaves no doubt; it has just started, or is about to end, and has better things to do than to say that
    again to thousands of nodes."""
    return condition.state not in GOOD and (condition.fails > 0 or condition.finding not in _SAID_SO)


def pause(condition: Condition, interval: float, hasty: int | None, now: float, chance: float) -> float:
    """Seconds from the beginning of one look to that of the next; ``chance`` is drawn from [0, 1).

    ``hasty`` is how many looks in a row, up to the last, were made in haste; None: there is none now. Haste slows
    down to the interval, so that a server that is hung or overloaded is not flooded. One that has been failing for
    minutes is looked at less and less often.
    """
    if condition.state in ("suspect", "down"):
        doublings = min(int(max(now - condition.since, 0.0) / _PATIENCE), _DOUBLINGS)
        interval = min(interval * 2**doublings, max(interval, _LONGEST))
    if hasty is not None:
        interval = min(QUICK * 2 ** min(max(hasty - _AT_FIRST, 0), _DOUBLINGS), interval)
    return interval * (1 + _JITTER * (chance - 0.5))
