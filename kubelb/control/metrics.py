"""The proxy in Prometheus' text format, version 0.0.4
(prometheus.io/docs/instrumenting/exposition_formats); pure.

What is counted lives in the shared table, so nothing is kept here: each scrape is a picture of one moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kubelb.control.status import Server, Status
from kubelb.control.tally import ServerTally, Tally, Times
from kubelb.snapshot import Finding, State


@dataclass(frozen=True)
class Usage:
    """What one process of the proxy takes."""

    process: str
    """``supervisor``, ``control`` or ``worker-N``."""
    cpu_seconds: float
    """User and system time, since it began."""
    memory_bytes: int
    open_fds: int


def exposition(status: Status, tally: Tally, usages: Sequence[Usage]) -> bytes:
    """The whole text; status and tally are of the same snapshot."""
    registry = CollectorRegistry()
    registry.register(_Picture(status, tally, usages))
    return generate_latest(registry)


class _Picture(Collector):
    def __init__(self, status: Status, tally: Tally, usages: Sequence[Usage]) -> None:
        self._status = status
        self._tally = tally
        self._usages = usages

    def collect(self) -> Iterator[Metric]:
        yield from _of_the_whole(self._status, self._tally)
        servers = [
            ((pool.name, server.name, server.address), server)
            for pool in self._status.pools
            for server in pool.servers
        ]
        for of_server in _OF_SERVERS:
            yield of_server.family(_SERVER, servers)
        counted = [one for pool in self._tally.pools for one in pool]
        tallies = [(names, one) for (names, _), one in zip(servers, counted, strict=True)]
        for of_tally in _OF_TALLIES:
            yield of_tally.family(_SERVER, tallies)
        for times in _TIMES:
            yield times.family(_SERVER, tallies)
        processes = [((usage.process,), usage) for usage in self._usages]
        for of_process in _OF_PROCESSES:
            yield of_process.family(("process",), processes)


def _of_the_whole(status: Status, tally: Tally) -> Iterator[Metric]:
    info = GaugeMetricFamily("kubelb_build_info", "Always 1; the label says what runs.", labels=["version"])
    info.add_metric([status.version], 1)
    yield info
    yield GaugeMetricFamily(
        "kubelb_snapshot_version", "Version of the picture of all servers that workers go by.", value=status.snapshot
    )
    yield GaugeMetricFamily("kubelb_clients", "Clients connected now.", value=status.clients.active)
    yield CounterMetricFamily("kubelb_clients_total", "Clients accepted.", value=status.clients.accepted)
    for figure in _OF_THE_WHOLE:
        yield figure.family((), [((), tally)])


_SERVER: Final = ("pool", "server", "address")
T = TypeVar("T")
_Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class _Figure(Generic[T]):
    """A metric of each of several things."""

    name: str
    """A counter's ends in ``_total``."""
    documentation: str
    read: Callable[[T], _Values]
    """Its values, by those of the ``labels`` that it has beside what names the thing."""
    labels: tuple[str, ...] = ()

    def family(self, labels: tuple[str, ...], things: Iterable[tuple[tuple[str, ...], T]]) -> Metric:
        """``things`` come with their values of ``labels``."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        family = kind(self.name, self.documentation, labels=(*labels, *self.labels))
        for names, thing in things:
            for more, value in self.read(thing).items():
                family.add_metric((*names, *more), value)
        return family


@dataclass(frozen=True)
class _Histogram:
    """Of each server; absent where there has been nothing to count."""

    name: str
    documentation: str
    read: Callable[[ServerTally], Times]

    def family(self, labels: tuple[str, ...], things: Iterable[tuple[tuple[str, ...], ServerTally]]) -> Metric:
        """As :meth:`_Figure.family`."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=labels)
        for names, thing in things:
            times = self.read(thing)
            if times.count:
                buckets = [("+Inf" if bound == math.inf else str(bound), count) for bound, count in times.up_to]
                family.add_metric(names, buckets, times.seconds)
        return family


def _one(read: Callable[[T], float]) -> Callable[[T], _Values]:
    return lambda thing: {(): read(thing)}


def _by_label(read: Callable[[T], Mapping[str, int]]) -> Callable[[T], _Values]:
    return lambda thing: {(label,): value for label, value in read(thing).items()}


def _bytes(server: Server) -> _Values:
    return {("up",): server.bytes_up, ("down",): server.bytes_down}


def _states(server: Server) -> _Values:
    return {(state,): float(state == server.state) for state in get_args(State)}


def _findings(server: Server) -> _Values:
    return {(finding,): float(finding == server.finding) for finding in get_args(Finding)}


def _readiness_visible(server: Server) -> _Values:
    return {} if server.readiness_visible is None else {(): float(server.readiness_visible)}


def _probe_seconds(server: Server) -> _Values:
    return {} if server.probe is None else {(): server.probe.seconds}


def _probe_ok(server: Server) -> _Values:
    return {} if server.probe is None else {(): float(not server.probe.fault)}


def _reloaded_at(tally: Tally) -> _Values:
    return {} if tally.reloaded_at is None else {(): tally.reloaded_at}


_OF_THE_WHOLE: Final[Sequence[_Figure[Tally]]] = (
    _Figure(
        "kubelb_clients_turned_away_total",
        "Clients that were closed before they had a server, by reason.",
        _by_label(lambda tally: tally.turned_away),
        ("reason",),
    ),
    _Figure(
        "kubelb_relay_threads",
        "Relay threads, by how they move bytes; copy: the system refuses splice(2).",
        _by_label(lambda tally: tally.relays),
        ("mode",),
    ),
    _Figure(
        "kubelb_sessions_on_own_thread",
        "Sessions that have a thread of their own now, mostly because they move bulk data.",
        _one(lambda tally: tally.alone),
    ),
    _Figure(
        "kubelb_child_deaths_total",
        "Child processes that ended although nobody wanted it; they are replaced.",
        _by_label(lambda tally: tally.deaths),
        ("kind",),
    ),
    _Figure(
        "kubelb_reloads_total",
        "Reloads of the configuration, by result.",
        _by_label(lambda tally: tally.reloads),
        ("result",),
    ),
    _Figure(
        "kubelb_last_reload_timestamp_seconds",
        "When the last good reload was done, in Unix seconds; absent: there was none.",
        _reloaded_at,
    ),
)

_OF_SERVERS: Final[Sequence[_Figure[Server]]] = (
    _Figure("kubelb_sessions", "Sessions alive now.", _one(lambda server: server.active)),
    _Figure("kubelb_sessions_total", "Sessions begun.", _one(lambda server: server.opened)),
    _Figure("kubelb_bytes_total", "Bytes moved; up: to the server, down: from it.", _bytes, ("direction",)),
    _Figure("kubelb_server_state", "1 for the state the server is in, 0 for the others.", _states, ("state",)),
    _Figure(
        "kubelb_server_state_since_seconds",
        "When the server got into its state, in Unix seconds.",
        _one(lambda server: server.since),
    ),
    _Figure(
        "kubelb_server_finding",
        "1 for what the evidence about the server comes to, 0 for the rest.",
        _findings,
        ("finding",),
    ),
    _Figure(
        "kubelb_readiness_visible",
        "1: the server tells us whether it is ready, 0: it does not (401, 403); absent: it was not asked.",
        _readiness_visible,
    ),
    _Figure("kubelb_server_drained", "1: the operator wants it empty.", _one(lambda server: server.drained)),
    _Figure("kubelb_probe_seconds", "How long the last probe took; absent: never probed.", _probe_seconds),
    _Figure("kubelb_probe_ok", "1: the last probe passed, 0: it failed; absent: never probed.", _probe_ok),
)
_OF_TALLIES: Final[Sequence[_Figure[ServerTally]]] = (
    _Figure(
        "kubelb_sessions_ended_total",
        "Sessions that have ended, by cause; cut: by us with a reset, rebalanced: by us orderly.",
        _by_label(lambda tally: tally.ends),
        ("cause",),
    ),
    _Figure(
        "kubelb_dial_failures_total",
        "Dials that failed, by reason.",
        _by_label(lambda tally: tally.dial_failures),
        ("reason",),
    ),
    _Figure(
        "kubelb_probes_total",
        "Probes, by result; unready: answered with a status that is not an expected one.",
        _by_label(lambda tally: tally.results),
        ("result",),
    ),
)
_TIMES: Final[Sequence[_Histogram]] = (
    _Histogram("kubelb_dial_duration_seconds", "How long the server took to accept.", lambda tally: tally.dials),
    _Histogram(
        "kubelb_session_duration_seconds",
        "How long sessions had lived when they ended.",
        lambda tally: tally.sessions,
    ),
    _Histogram("kubelb_probe_duration_seconds", "How long probes took.", lambda tally: tally.probes),
)
_OF_PROCESSES: Final[Sequence[_Figure[Usage]]] = (
    _Figure(
        "kubelb_process_cpu_seconds_total",
        "User and system CPU time of a process.",
        _one(lambda usage: usage.cpu_seconds),
    ),
    _Figure(
        "kubelb_process_memory_bytes",
        "Memory of a process (PSS: what processes share counts in parts, so the sum is that of all).",
        _one(lambda usage: usage.memory_bytes),
    ),
    _Figure("kubelb_process_open_fds", "File descriptors a process has open.", _one(lambda usage: usage.open_fds)),
)
