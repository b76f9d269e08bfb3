"""Figures out of what clients have seen; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

import msgspec

from bench.failover.records import UNANSWERED, Harm, Record, Try
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
SENT_THERE, SENT_LATE = "new connections sent there after 2 s, %", "new connections sent there after 6 s"
SERVED, ERROR = "served after, s", "longest wait for an error, s"
UNEVEN, RETURNED = "off an even share, %", "of them on the one that returned"
CUT, CUT_OTHERS, TRANSFERS_CUT = "sessions cut", "sessions of others cut", "transfers cut"
FORBIDDEN = "new connections that met 403"

_PROMISED_SECONDS = 2.0
"""So long after a server began to drain nobody new is to be sent there."""
_LATE_SECONDS = 6.0
"""The same where probes come every 5 s."""


def read(names: Iterable[str], record: Record, harm: Harm) -> Figures:
    """Those of these names."""
    return {name: FIGURES[name](record, harm) for name in names}


def _gap(record: Record, harm: Harm) -> Figure:
    gap = longest_gap(record, harm.begun)
    return Figure(gap.value * 1000, gap.open)


def _served_again(record: Record, harm: Harm) -> Figure:
    return longest_gap(record, harm.begun)


def _failed_requests(record: Record, harm: Harm) -> Figure:
    return _count(one.fault for one in record.requests if one.ended >= harm.begun)


def _refused(record: Record, harm: Harm) -> Figure:
    return _count(one.fault for one in _new(record, harm))


def _milliseconds(part: float) -> Callable[[Record, Harm], Figure]:
    def percentile_of(record: Record, harm: Harm) -> Figure:
        return Figure(percentile(took(record.connections, harm.done), part) * 1000)

    return percentile_of


def _slowest(record: Record, harm: Harm) -> Figure:
    """One that was given up at the end had still been waiting."""
    slowest = max(_new(record, harm), key=lambda one: one.ended - one.begun, default=None)
    if slowest is None:
        return Figure(0.0)
    return Figure((slowest.ended - slowest.begun) * 1000, open=slowest.fault == UNANSWERED)


def _sent_there(record: Record, harm: Harm) -> Figure:
    there = share_of(NAMES[DEAD], record.connections, harm.done + _PROMISED_SECONDS, harm.done + DRAIN_SECONDS)
    return Figure(there)


def _sent_late(record: Record, harm: Harm) -> Figure:
    late = harm.done + _LATE_SECONDS
    return _count(one.server == NAMES[DEAD] for one in record.connections if one.begun >= late)


def _served(record: Record, harm: Harm) -> Figure:
    return first_reply(record, harm.done)


def _error(record: Record, harm: Harm) -> Figure:
    longest = percentile(took(record.connections, harm.done), 1)
    return Figure(longest, open=longest >= HANG_SECONDS)


def _uneven(record: Record, _harm: Harm) -> Figure:
    return Figure(unevenness(record.sessions, NAMES))


def _returned(record: Record, _harm: Harm) -> Figure:
    return Figure(record.sessions.count(NAMES[DEAD]))


def _cut(record: Record, harm: Harm) -> Figure:
    return _count(end.at >= harm.begun for end in record.ends)


def _cut_others(record: Record, harm: Harm) -> Figure:
    return _count(end.at >= harm.begun and end.server != NAMES[DEAD] for end in record.ends)


def _transfers_cut(record: Record, harm: Harm) -> Figure:
    """Of those that were under way when the harm began or came until it was done."""
    under_way = (one for one in record.transfers if one.begun <= harm.done and one.ended >= harm.begun)
    return _count(one.server and one.fault for one in under_way)


def _forbidden(record: Record, harm: Harm) -> Figure:
    return _count(one.status == HTTPStatus.FORBIDDEN for one in _new(record, harm))


FIGURES: dict[str, Callable[[Record, Harm], Figure]] = {
    GAP: _gap,
    SERVED_AGAIN: _served_again,
    FAILED: _failed_requests,
    REFUSED: _refused,
    P50: _milliseconds(0.5),
    P99: _milliseconds(0.99),
    MAX: _slowest,
    SENT_THERE: _sent_there,
    SENT_LATE: _sent_late,
    SERVED: _served,
    ERROR: _error,
    UNEVEN: _uneven,
    RETURNED: _returned,
    CUT: _cut,
    CUT_OTHERS: _cut_others,
    TRANSFERS_CUT: _transfers_cut,
    FORBIDDEN: _forbidden,
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


def _count(marks: Iterable[object]) -> Figure:
    """How many of them are true."""
    return Figure(sum(map(bool, marks)))


def _new(record: Record, harm: Harm) -> list[Try]:
    """The connections begun once the harm was done."""
    return [one for one in record.connections if one.begun >= harm.done]


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
