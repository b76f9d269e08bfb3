"""The proxy in Prometheus' text format, version 0.0.4
(prometheus.io/docs/instrumenting/exposition_formats); pure.

What is counted lives in the shared table, so nothing is kept here: each scrape is a picture of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubelb.control.status import Server, Status
from kubelb.snapshot import State


@dataclass(frozen=True)
class Usage:
    """What one process of the proxy takes."""

    process: str
    """``supervisor``, ``control`` or ``worker-N``."""
    cpu_seconds: float
    """User and system time, since it began."""
    memory_bytes: int
    open_fds: int


def exposition(status: Status, usages: Sequence[Usage]) -> bytes:
    """The whole text."""
    registry = CollectorRegistry()
    registry.register(_Picture(status, usages))
    return generate_latest(registry)


class _Picture(Collector):
    def __init__(self, status: Status, usages: Sequence[Usage]) -> None:
        self._status = status
        self._usages = usages

    def collect(self) -> Iterator[Metric]:
        yield from _of_the_whole(self._status)
        servers = [
            ((pool.name, server.name, server.address), server)
            for pool in self._status.pools
            for server in pool.servers
        ]
        for of_server in _OF_SERVERS:
            yield of_server.family(("pool", "server", "address"), servers)
        processes = [((usage.process,), usage) for usage in self._usages]
        for of_process in _OF_PROCESSES:
            yield of_process.family(("process",), processes)


def _of_the_whole(status: Status) -> Iterator[Metric]:
    info = GaugeMetricFamily("kubelb_build_info", "Always 1; the label says what runs.", labels=["version"])
    info.add_metric([status.version], 1)
    yield info
    yield GaugeMetricFamily(
        "kubelb_snapshot_version", "Version of the picture of all servers that workers go by.", value=status.snapshot
    )
    yield GaugeMetricFamily("kubelb_clients", "Clients connected now.", value=status.clients.active)
    yield CounterMetricFamily("kubelb_clients_total", "Clients accepted.", value=status.clients.accepted)


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


def _one(read: Callable[[T], float]) -> Callable[[T], _Values]:
    return lambda thing: {(): read(thing)}


def _bytes(server: Server) -> _Values:
    return {("up",): server.bytes_up, ("down",): server.bytes_down}


def _states(server: Server) -> _Values:
    return {(state,): float(state == server.state) for state in get_args(State)}


def _probe_seconds(server: Server) -> _Values:
    return {} if server.probe is None else {(): server.probe.seconds}


def _probe_ok(server: Server) -> _Values:
    return {} if server.probe is None else {(): float(not server.probe.fault)}


_OF_SERVERS: Final[Sequence[_Figure[Server]]] = (
    _Figure("kubelb_sessions", "Sessions alive now.", _one(lambda server: server.active)),
    _Figure("kubelb_sessions_total", "Sessions begun.", _one(lambda server: server.opened)),
    _Figure("kubelb_bytes_total", "Bytes moved; up: to the server, down: from it.", _bytes, ("direction",)),
    _Figure("kubelb_dial_failures_total", "Dials that failed.", _one(lambda server: server.dial_failures)),
    _Figure(
        "kubelb_session_resets_total",
        "Sessions that ended by a reset of either side.",
        _one(lambda server: server.resets),
    ),
    _Figure("kubelb_server_state", "1 for the state the server is in, 0 for the others.", _states, ("state",)),
    _Figure(
        "kubelb_server_state_since_seconds",
        "When the server got into its state, in Unix seconds.",
        _one(lambda server: server.since),
    ),
    _Figure("kubelb_server_drained", "1: the operator wants it empty.", _one(lambda server: server.drained)),
    _Figure("kubelb_probe_seconds", "How long the last probe took; absent: never probed.", _probe_seconds),
    _Figure("kubelb_probe_ok", "1: the last probe passed, 0: it failed; absent: never probed.", _probe_ok),
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
