"""How soon a peer serves."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import Metric, Sample
from bench.running import Running

TIME = Metric("s")


@dataclass(frozen=True)
class Start:
    """From the spawning of the process to the first reply through it, which is later than the first accept."""

    name: str = "start"
    title: str = "start to first reply"
    fresh: bool = True
    metrics: tuple[Metric, ...] = (TIME,)

    def measure(self, peer: Running, seconds: int) -> Sample:
        return Sample({TIME.name: peer.started_in})
