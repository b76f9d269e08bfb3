"""Memory of a peer's whole process tree, idle and with idle sessions; the kernel's own for sockets is left out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench.processes import Program
from bench.results import Metric, Sample
from bench.running import Running, ask_small

IDLE, SESSION, AFTER = Metric("idle MB"), Metric("KB/idle session"), Metric("MB after")

_SETTLE_SECONDS = 5.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Memory:
    """The tree before, with and after ``sessions`` keep-alive connections that have each done one request."""

    sessions: int = 1000
    name: str = "memory"
    fresh: bool = True
    metrics: tuple[Metric, ...] = (IDLE, SESSION, AFTER)

    @property
    def title(self) -> str:
        return f"memory, {self.sessions:,} sessions"

    def measure(self, peer: Running, seconds: int) -> Sample:
        """``seconds`` has no meaning here: the figures are read once they stand still."""
        idle = _settled(peer.program)
        with ExitStack() as held:
            connections = [held.enter_context(peer.connect()) for _ in range(self.sessions)]
            errors = sum(not ask_small(connection) for connection in connections)
            loaded = _settled(peer.program)
        after = _settled(peer.program)
        figures = {IDLE: idle / 1e6, SESSION: (loaded - idle) / self.sessions / 1e3, AFTER: after / 1e6}
        return Sample({metric.name: value for metric, value in figures.items()}, errors)


def _settled(program: Program) -> float:
    """Bytes, once two readings are within 0.2 % of each other, or as they are after five seconds."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    last = program.memory_bytes()
    while True:
        time.sleep(_LOOK_SECONDS)
        now = program.memory_bytes()
        if abs(now - last) <= 0.002 * last or time.monotonic() > deadline:
            return now
        last = now
