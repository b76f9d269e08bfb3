"""What the harness knows of a measurement."""

from __future__ import annotations

from typing import Protocol

from bench.results import Metric, Sample
from bench.running import Running


class Case(Protocol):
    """One kind of load, and the figures taken under it."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def title(self) -> str:
        """As in the table."""

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    @property
    def fresh(self) -> bool:
        """Each round needs peers that have served nothing yet, alone; otherwise one of each stays for all rounds."""

    def measure(self, peer: Running, seconds: int) -> Sample:
        """Put the load on ``peer`` for about ``seconds``. Raises :class:`~bench.faults.BenchFault`, OSError."""
