"""What a run yields, as it is written to JSON and read by the report; pure."""

from __future__ import annotations

import msgspec

from bench.failover.reading import Figure
from bench.results import Machine


class Outcome(msgspec.Struct, frozen=True):
    """All rounds of one scenario."""

    name: str
    title: str
    figures: tuple[str, ...]
    rounds: dict[str, list[dict[str, Figure]]]
    """By peer, one a round; a figure by its name."""
    failures: dict[str, str]
    """By peer: why it has no figures, or fewer rounds."""


class FailoverRun(msgspec.Struct, frozen=True):
    """A whole run."""

    machine: Machine
    haproxy: str
    """Its version."""
    envoy: str
    command: str
    rounds: int
    quick: bool
    peers: dict[str, str]
    """Titles by name."""
    outcomes: list[Outcome]
