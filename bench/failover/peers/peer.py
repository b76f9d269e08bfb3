"""What a balancer is told, and what the bench knows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """What a balancer is told: it listens on 127.0.0.1:6443 and ends on SIGTERM."""

    servers: Sequence[str]
    """``host:port`` each."""
    authority: Path
    """The certificate (PEM) the servers' own come from."""
    rebalance: bool
    """Move long-lived sessions to a server that returned, if it can."""
    directory: Path
    """Its own, to keep what it needs."""


@dataclass(frozen=True)
class Peer:
    """One balancer in one configuration."""

    name: str
    """It is chosen by this on the command line."""
    title: str
    """It heads the peer's column in the table."""
    command: Callable[[Place], list[str]]
    """Writes its files; the command that runs it in the foreground."""
    settle_seconds: float = 4.0
    """From its first replies until it has probed every server as often as it needs to know them."""
