"""What a load is, and what its clients have seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

How = Literal["refused", "reset", "ended", "late", "wrong"]
"""No connection; cut; an end before its time; nothing came; something else came."""

MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """Transfers of one client, one after the other."""

    name: str
    up: int
    """Bytes to the server, give or take a half."""
    down: int
    """Bytes from it, likewise."""
    burst: int = 128 << 10
    """Bytes that either reader takes at once."""
    pause: float = 0.02
    """Seconds it waits then."""


UPLOAD = Shape("upload", up=8 * MIB, down=0)
DOWNLOAD = Shape("download", up=MIB, down=8 * MIB)
BOTH = Shape("both ways", up=8 * MIB, down=8 * MIB)
HALF_CLOSED = Shape("half-closed", up=0, down=8 * MIB)
"""The client has nothing to send and says so at once."""
FAST = Shape("fast", up=16 * MIB, down=16 * MIB, burst=512 << 10)
SHAPES = (UPLOAD, DOWNLOAD, BOTH, HALF_CLOSED, FAST)


@dataclass(frozen=True)
class Plan:
    """Which clients there are."""

    new: int = 4
    """Of those that connect, ask once, and leave, again and again."""
    regular: int = 16
    """Of those that stay and go on asking."""
    bulk: tuple[Shape, ...] = SHAPES
    """One client each."""
    idle: int = 1000
    """Of those that have asked once and stay."""
    pause: float = 0.005
    """Seconds between two questions of a client."""
    patience: float = 10.0
    """Seconds that anything may take."""
    seed: int = 0
    """Of all that is drawn."""


@dataclass(frozen=True)
class Failure:
    """Something that must not happen to a client of a proxy whose servers and processes live. Times are seconds of
    the monotonic clock."""

    client: str
    """Its kind."""
    how: How
    what: str
    """In a line."""
    doing: str
    began: float
    """When it began to connect."""
    at: float
    server: str | None
    """Whom it was connected with, if it knew."""
    port: int
    """The client's."""

    def __str__(self) -> str:
        server = self.server or "a server unknown"
        age = self.at - self.began
        return (
            f"{self.client}, port {self.port}, with {server} for {age:.3f} s, {self.doing}: {self.how}: {self.what}"
        )


SLOWEST = 10
"""How many waits are remembered."""


class Wait(NamedTuple):
    """For a small answer; that to a new connection is waited for from the connect on."""

    client: str
    """Its kind."""
    since: float
    """Seconds of the monotonic clock."""
    seconds: float


def slowest(waits: Iterable[Wait]) -> list[Wait]:
    return sorted(waits, key=lambda wait: wait.seconds, reverse=True)[:SLOWEST]


@dataclass(frozen=True)
class Result:
    connections: int
    """New ones that were served, and ended as they should."""
    requests: int
    """Small ones that were answered, those of new connections apart."""
    transfers: int
    """Whole ones, with the right digests."""
    bytes_up: int
    bytes_down: int
    idle: int
    """Idle sessions that still carried bytes at the end, to the server they were opened to."""
    slowest: tuple[Wait, ...]
    """The longest first."""
    failures: tuple[Failure, ...]
