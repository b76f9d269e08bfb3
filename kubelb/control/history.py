"""The last minutes of each server, for who looks at the status page; pure.

A history is a value: each look at the counters gives the next one, so that any thread may read the newest while the
loop makes another. What is kept is bounded: four numbers and a state for each of the last :data:`KEPT` looks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from kubelb.control.status import Pool, Server, Status
from kubelb.snapshot import State

EVERY: Final = 2.0
"""Seconds from one look to the next."""
KEPT: Final = 150
"""So many are kept: five minutes."""

Identity = tuple[str, str, str]
"""Pool, name and address, by which a server is the same one."""


@dataclass(frozen=True)
class Trail:
    """What became of one server, a place for each look, oldest first; nothing before there have been two of them."""

    states: tuple[State, ...] = ()
    active: array[float] = field(default_factory=lambda: array("f"))
    """Sessions alive."""
    opened: array[float] = field(default_factory=lambda: array("f"))
    """Sessions begun, a second."""
    up: array[float] = field(default_factory=lambda: array("f"))
    """Bytes a second to the server."""
    down: array[float] = field(default_factory=lambda: array("f"))
    """Bytes a second from the server."""

    def and_then(self, before: Server, server: Server, seconds: float) -> Trail:
        """With one look more, ``seconds`` after the one that saw ``before``."""

        def rate(then: int, now: int) -> float:
            return max(0, now - then) / seconds

        return Trail(
            states=(*self.states, server.state)[-KEPT:],
            active=_longer(self.active, server.active),
            opened=_longer(self.opened, rate(before.opened, server.opened)),
            up=_longer(self.up, rate(before.bytes_up, server.bytes_up)),
            down=_longer(self.down, rate(before.bytes_down, server.bytes_down)),
        )


@dataclass(frozen=True)
class History:
    """The trails, and what the next look is compared with."""

    at: float = 0.0
    """Of the last look; seconds of the monotonic clock."""
    seen: Mapping[Identity, Server] = field(default_factory=dict)
    trails: Mapping[Identity, Trail] = field(default_factory=dict)

    def and_then(self, status: Status, now: float) -> History:
        """With what is seen ``now``, which is later than the last look. Who is gone is forgotten."""
        seen = {identity(pool, server): server for pool, server in _servers(status)}
        seconds = now - self.at
        trails = {
            key: self.trail(key).and_then(self.seen[key], server, seconds)
            for key, server in seen.items()
            if key in self.seen
        }
        return History(now, seen, trails)

    def trail(self, key: Identity) -> Trail:
        """An empty one where there is nothing to tell yet."""
        return self.trails.get(key, _NONE)


def identity(pool: Pool, server: Server) -> Identity:
    return pool.name, server.name, server.address


def _servers(status: Status) -> Iterator[tuple[Pool, Server]]:
    for pool in status.pools:
        for server in pool.servers:
            yield pool, server


def _longer(column: array[float], value: float) -> array[float]:
    longer = column[1 - KEPT :]
    longer.append(value)
    return longer


_NONE: Final = Trail()
