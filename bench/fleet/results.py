"""What a run yields, as it is written to JSON and read by the report; pure."""

from __future__ import annotations

import msgspec


class Figures(msgspec.Struct, frozen=True):
    """Of one policy in one scenario."""

    peak: int
    """Handshakes of clients in the worst second after the harm, over all survivors."""
    peak_one: int
    """The same on one server."""
    peak_with_probes: int
    """Handshakes of clients and probes in the worst second, over all survivors."""
    outage: float
    """The longest time in which more than one node in a hundred was not served, in seconds."""
    open: bool
    """It had not ended when the simulation did."""
    cuts: int
    needless: int
    probes: float
    """A second, node and server that is there, over the whole time."""
    probes_peak: float
    """Of a node to the server that had the most, in the worst second after the harm."""
    worst_wait: float
    """The longest that a request had to wait for a core, in seconds."""
    seconds: float
    """What the simulation itself took."""


class FleetRun(msgspec.Struct, frozen=True):
    command: str
    nodes: int
    sessions: int
    """Of a node."""
    cores: int
    seed: int
    peers: dict[str, str]
    """Titles by name."""
    scenarios: dict[str, str]
    """The same."""
    figures: dict[str, dict[str, Figures]]
    """By scenario and policy."""
