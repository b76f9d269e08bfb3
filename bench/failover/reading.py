"""Figures out of what clients have seen; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from bench.failover.records import Harm, Record, Try
from bench.failover.terms import DEAD, DRAIN_SECONDS, HANG_SECONDS, NAMES


class Figure(msgspec.Struct, frozen=True):
    """One number of one round."""

    value: float
    open: bool = False
    """It was still growing when the measurement ended: it is at least so much."""


Figures = dict[str, Figure]
"""By name."""

GAP, SERVED_AGAIN = "longest gap, ms", "clients served again, s"
FAILED, REFUSED = "failed requests", "failed new connections"
P50, P99, MAX = "new connections p50, ms", "new connections p99, ms", "new connections max, ms"
SENT_THERE = "new connections sent there after 2 s, %"
SERVED, ERROR = "served after, s", "longest wait for an error, s"
UNEVEN, RETURNED = "off an even share, %", "of them on the one that returned"

_PROMISED_SECONDS = 2.0
"""So long after a server began to drain nobody new is to be sent there."""


def kill(record: Record, harm: Harm) -> Figures:
    return {
        GAP: _milliseconds(longest_gap(record, harm.begun)),
        FAILED: Figure(_failed(one for one in record.requests if one.ended >= harm.begun)),
        REFUSED: Figure(_failed(one for one in record.connections if one.begun >= harm.done)),
    }


def power_off(record: Record, harm: Harm) -> Figures:
    times = [seconds * 1000 for seconds in took(record.connections, harm.done)]
    return {
        SERVED_AGAIN: longest_gap(record, harm.begun),
        FAILED: Figure(_failed(one for one in record.requests if one.ended >= harm.begun)),
        REFUSED: Figure(_failed(one for one in record.connections if one.begun >= harm.done)),
        P50: Figure(percentile(times, 0.5)),
        P99: Figure(percentile(times, 0.99)),
        MAX: Figure(percentile(times, 1)),
    }


def drain(record: Record, harm: Harm) -> Figures:
    there = share_of(NAMES[DEAD], record.connections, harm.done + _PROMISED_SECONDS, harm.done + DRAIN_SECONDS)
    return {
        GAP: _milliseconds(longest_gap(record, harm.begun)),
        FAILED: Figure(_failed(one for one in record.requests if one.ended >= harm.begun)),
        REFUSED: Figure(_failed(one for one in record.connections if one.begun >= harm.done)),
        SENT_THERE: Figure(there),
    }


def back(record: Record, harm: Harm) -> Figures:
    return {SERVED: first_reply(record, harm.done)}


def error(record: Record, harm: Harm) -> Figures:
    longest = percentile(took(record.connections, harm.done), 1)
    return {ERROR: Figure(longest, open=longest >= HANG_SECONDS)}


def sessions(record: Record, _harm: Harm) -> Figures:
    return {
        UNEVEN: Figure(unevenness(record.sessions, NAMES)),
        RETURNED: Figure(record.sessions.count(NAMES[DEAD])),
    }


def longest_gap(record: Record, at: float) -> Figure:
    """Seconds between one reply and the next of the same client, where the second came after ``at``, or never."""
    gaps = [_longest_gap(replies, at, record.stopped) for replies in _replies(record).values()]
    return max(gaps, key=lambda gap: gap.value, default=Figure(0.0))


def took(tries: Sequence[Try], since: float) -> list[float]:
    """Seconds each of those begun since then took, answered or not."""
    return sorted(one.ended - one.begun for one in tries if one.begun >= since)


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that ``part`` of them do not exceed (nearest rank); 0 of none."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else 0.0


def share_of(server: str, tries: Sequence[Try], begin: float, end: float) -> float:
    """Percent of the connections begun in that time, and answered, that ``server`` answered."""
    answers = [one.server for one in tries if begin <= one.begun < end and one.server]
    return 100 * answers.count(server) / len(answers) if answers else 0.0


def first_reply(record: Record, at: float) -> Figure:
    """Seconds from ``at`` until a new connection was answered."""
    ends = [one.ended for one in record.connections if one.server and one.ended >= at]
    return Figure(min(ends) - at) if ends else Figure(record.stopped - at, open=True)


def unevenness(sessions: Sequence[str], servers: Sequence[str]) -> float:
    """How far the server that is farthest from an even share is from it, in percent of that share."""
    even, counts = len(sessions) / len(servers), Counter(sessions)
    return max(abs(counts[server] - even) for server in servers) / even * 100


def _failed(tries: Iterable[Try]) -> float:
    """How many of them nobody answered."""
    return sum(bool(one.fault) for one in tries)


def _milliseconds(figure: Figure) -> Figure:
    return Figure(figure.value * 1000, figure.open)


def _replies(record: Record) -> dict[int, list[float]]:
    """By client, when its replies came; a client that never had one is there too."""
    found: dict[int, list[float]] = {}
    for one in record.requests:
        ends = found.setdefault(one.client, [])
        if one.server:
            ends.append(one.ended)
    return found


def _longest_gap(replies: Sequence[float], at: float, stopped: float) -> Figure:
    before = [reply for reply in replies if reply < at]
    after = [reply for reply in replies if reply >= at]
    moments = [before[-1] if before else at, *after]
    longest = max((later - sooner for sooner, later in zip(moments, after, strict=False)), default=0.0)
    last = stopped - moments[-1]
    return Figure(last, open=True) if last > longest else Figure(longest)
