"""What has been counted of each server and of the proxy as a whole, beyond what its status tells; pure.

For those who draw conclusions from it (:mod:`kubelb.control.metrics`). Counts are sums over all processes, those that
have died included; lengths of time are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from kubelb.control.status import Counters
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Histogram

TURNED_AWAY: Final[Mapping[str, int]] = {
    "no_server": Count.TURNED_AWAY,
    "denied": Count.DENIED,
    "no_header": Count.NO_HEADER,
    "max_connections": Count.CROWDED_OUT,
    "limit": Count.LIMITED,
    "internal": Count.INTERNAL,
}
"""Clients, by reason."""
DIAL_FAILURES: Final[Mapping[str, int]] = {
    "refused": Count.REFUSED,
    "timeout": Count.UNANSWERED,
    "unreachable": Count.UNREACHABLE,
    "reset": Count.RESET,
    "other": Count.OTHERWISE,
}
"""By reason."""
ENDS: Final[Mapping[str, int]] = {
    "closed": Count.CLOSED,
    "client_reset": Count.CLIENT_RESETS,
    "server_reset": Count.SERVER_RESETS,
    "idle": Count.IDLED,
    "cut": Count.CUTS,
    "rebalanced": Count.REBALANCED,
    "internal": Count.INTERNAL,
}
"""Of sessions, by cause."""
RESULTS: Final[Mapping[str, int]] = {
    "passed": Count.PROBES_PASSED,
    "unready": Count.PROBES_UNREADY,
    "failed": Count.PROBES_FAILED,
}
"""Of probes."""
RELAYS: Final[Mapping[str, int]] = {"splice": Count.SPLICING, "copy": Count.COPYING}
"""Relay threads, by how they move bytes."""
DEATHS: Final[Mapping[str, int]] = {"worker": Count.WORKER_DEATHS, "control": Count.CONTROL_DEATHS}
"""By what has died."""
RELOADS: Final[Mapping[str, int]] = {"ok": Count.RELOADS, "failed": Count.RELOADS_FAILED}
"""By how they went."""

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Times:
    """How long something took, each time."""

    seconds: float
    """The sum."""
    up_to: tuple[tuple[float, int], ...]
    """How many took no longer than so many seconds, all shorter ones included; the last bound is infinite."""

    @property
    def count(self) -> int:
        return self.up_to[-1][1]


@dataclass(frozen=True)
class ServerTally:
    """Of one server."""

    dials: Times
    """Of those that it accepted."""
    dial_failures: Counts
    """By reason."""
    sessions: Times
    """Of those that have ended: how long they had lived."""
    ends: Counts
    """Of sessions, by cause."""
    probes: Times
    results: Counts
    """Of probes."""


@dataclass(frozen=True)
class Tally:
    turned_away: Counts
    """Clients that were closed before they had a server, by reason."""
    relays: Counts
    """Relay threads there are, by how they move bytes."""
    alone: int
    """Sessions that have a thread of their own now."""
    deaths: Counts
    """Of child processes that should not have ended, by what has died."""
    reloads: Counts
    """By how they went."""
    reloaded_at: float | None
    """When the last good one was done, in Unix seconds; None: there was none."""
    pools: tuple[tuple[ServerTally, ...], ...]
    """Each with its servers, in the snapshot's order."""


def tally(snapshot: Snapshot, counters: Counters, began: float) -> Tally:
    """``began`` is when the monotonic clock was 0, in Unix seconds."""
    reloaded_at = max(counters.each(0, Count.RELOADED_AT))
    return Tally(
        turned_away=_counts(counters, 0, TURNED_AWAY),
        relays=_counts(counters, 0, RELAYS),
        alone=counters.total(0, Count.ALONE),
        deaths=_counts(counters, 0, DEATHS),
        reloads=_counts(counters, 0, RELOADS),
        reloaded_at=began + reloaded_at / 1e9 if reloaded_at else None,
        pools=tuple(tuple(_of_server(server.slot, counters) for server in pool.servers) for pool in snapshot.pools),
    )


def _of_server(slot: int, counters: Counters) -> ServerTally:
    return ServerTally(
        dials=_times(counters, slot, Count.DIAL_SECONDS),
        dial_failures=_counts(counters, slot, DIAL_FAILURES),
        sessions=_times(counters, slot, Count.SESSION_SECONDS),
        ends=_counts(counters, slot, ENDS),
        probes=_times(counters, slot, Count.PROBE_SECONDS),
        results=_counts(counters, slot, RESULTS),
    )


def _counts(counters: Counters, slot: int, words: Mapping[str, int]) -> Counts:
    return {label: counters.total(slot, word) for label, word in words.items()}


def _times(counters: Counters, slot: int, histogram: Histogram) -> Times:
    counts = accumulate(counters.total(slot, word) for word in histogram.counts)
    bounds = (*histogram.bounds, math.inf)
    return Times(counters.total(slot, histogram.first) / 1e6, tuple(zip(bounds, counts, strict=True)))
