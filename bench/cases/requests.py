"""Requests by wrk, one after the other on each of its connections."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from bench import wrk
from bench.faults import BenchFault
from bench.results import Metric, Sample
from bench.running import Running

RATE, CONNECTION_RATE = Metric("req/s"), Metric("conn/s")
P50, P99 = Metric("p50 µs"), Metric("p99 µs")
CPU, CONNECTION_CPU = Metric("CPU µs/req"), Metric("CPU µs/conn")

_BURN = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    pass
"""


@dataclass(frozen=True)
class Requests:
    """Keep-alive connections, or with ``close`` a new connection for each request."""

    name: str
    title: str
    connections: int
    path: str = "/small"
    metrics: tuple[Metric, ...] = (RATE, P50, P99, CPU)
    close: bool = False
    neighbour: bool = False
    """With a busy process on one of the CPUs."""
    fresh: bool = False

    def measure(self, peer: Running, seconds: int) -> Sample:
        load = wrk.Load(peer.url(self.path), self.connections, seconds, self.close)
        with _neighbour(seconds) if self.neighbour else nullcontext():
            before = peer.program.cpu_seconds()
            outcome = wrk.run(load)
            cpu = peer.program.cpu_seconds() - before
        if not outcome.requests:
            raise BenchFault("no request was answered through it")
        cpu_each = cpu * 1e6 / outcome.requests
        figures = {RATE: outcome.rate, CONNECTION_RATE: outcome.rate, P50: outcome.p50, P99: outcome.p99}
        figures |= {CPU: cpu_each, CONNECTION_CPU: cpu_each}
        return Sample({metric.name: figures[metric] for metric in self.metrics}, outcome.errors)


@contextmanager
def _neighbour(seconds: int) -> Iterator[None]:
    """A process that takes all it can of the first CPU we may use; it ends by itself if the bench cannot end it."""
    cpu = min(os.sched_getaffinity(0))
    busy = subprocess.Popen([sys.executable, "-c", _BURN, str(cpu), str(seconds + 30)], start_new_session=True)
    try:
        yield
    finally:
        busy.kill()
        busy.wait()
