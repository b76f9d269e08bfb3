"""What the harness knows of a balancer."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Peer(Protocol):
    """One balancer in one configuration. It is started, stopped and measured by :mod:`bench.running`."""

    @property
    def name(self) -> str:
        """Unlike any other peer's of the run."""

    def command(self, port: int, origin_port: int, directory: Path) -> list[str]:
        """Write what it needs to ``directory``; the command that runs it in the foreground.

        It listens on ``port``, its one server is the origin, both on 127.0.0.1, and it ends on SIGTERM.
        """
