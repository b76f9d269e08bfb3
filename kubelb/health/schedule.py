"""When to look at a server again; pure."""

from __future__ import annotations

from kubelb.snapshot import Condition

QUICK = 0.1
"""Seconds between two looks where there is doubt; no two begin closer to each other."""
_JITTER = 0.2
"""The part of an interval that is left to chance, so that nodes do not keep step. It only shortens."""
_PATIENCE = 60.0
"""Seconds of failures; for each of them the interval doubles."""
_LONGEST = 10.0
"""Seconds; unless the configured interval is longer anyway."""


def pause(condition: Condition, interval: float, fall: int, now: float, chance: float) -> float:
    """Seconds from the beginning of one look to that of the next; ``chance`` is drawn from [0, 1).

    A server in doubt gets its next look at once, until it has passed or ``fall`` have failed. One that has been
    failing for minutes is looked at less and less often.
    """
    if condition.state == "suspect" and condition.fails < fall:
        return min(QUICK, interval)
    if condition.state in ("suspect", "down"):
        doublings = min(int(max(now - condition.since, 0.0) / _PATIENCE), 16)
        interval = min(interval * 2**doublings, max(interval, _LONGEST))
    return interval * (1 - _JITTER * chance)
