"""The proxy as it is this moment, for whoever asks; pure.

Encoded as JSON this is what ``GET /status`` answers. Its form is stable: fields are added, none changes its
meaning or goes. Counts are sums over all workers, bytes are bytes.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from kubelb import __version__
from kubelb import snapshot as snapshots
from kubelb.balance.passive import Streak, failing
from kubelb.config.model import Balance
from kubelb.stats import Count


class Counters(Protocol):
    """What :class:`kubelb.stats.Table` gives."""

    def total(self, slot: int, count: int) -> int: ...

    def each(self, slot: int, count: int) -> list[int]: ...


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One address of one configured server."""

    name: str
    """As configured."""
    address: str
    """``host:port``, numeric; IPv6 in brackets."""
    active: int
    """Sessions alive now."""
    opened: int
    """Sessions begun, ever."""
    bytes_up: int
    """From clients to the server."""
    bytes_down: int
    """From the server to clients."""
    dial_failures: int
    resets: int
    """Sessions that ended by a reset of either side."""
    down: bool
    """Configured as down."""
    backup: bool
    failing: bool
    """Left out for a while because of failed dials."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    balance: Balance
    servers: tuple[Server, ...]


class Clients(msgspec.Struct, frozen=True, kw_only=True):
    """All client connections, whatever their server."""

    active: int
    accepted: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    """kubelb's own."""
    pid: int
    """The supervisor's."""
    snapshot: int
    """The version of the picture the workers serve from."""
    clients: Clients
    pools: tuple[Pool, ...]


def status(snapshot: snapshots.Snapshot, counters: Counters, pid: int, now: int) -> Status:
    """``now`` is nanoseconds of the monotonic clock, ``pid`` the supervisor's."""
    return Status(
        version=__version__,
        pid=pid,
        snapshot=snapshot.version,
        clients=clients(counters),
        pools=tuple(
            Pool(
                name=pool.name,
                balance=pool.balance,
                servers=tuple(_server(server, counters, now) for server in pool.servers),
            )
            for pool in snapshot.pools
        ),
    )


def clients(counters: Counters) -> Clients:
    return Clients(active=counters.total(0, Count.ACTIVE), accepted=counters.total(0, Count.OPENED))


def _server(server: snapshots.Server, counters: Counters, now: int) -> Server:
    def total(count: int) -> int:
        return counters.total(server.slot, count)

    host, port = server.address
    return Server(
        name=server.name,
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        active=total(Count.ACTIVE),
        opened=total(Count.OPENED),
        bytes_up=total(Count.BYTES_UP),
        bytes_down=total(Count.BYTES_DOWN),
        dial_failures=total(Count.DIAL_FAILURES),
        resets=total(Count.RESETS),
        down=server.down,
        backup=server.backup,
        failing=_failing(server, counters, now),
    )


def _failing(server: snapshots.Server, counters: Counters, now: int) -> bool:
    words = (Count.FAILS, Count.FAILED_AT, Count.TRIED_AT, Count.PASSED_AT)
    rows = zip(*(counters.each(server.slot, word) for word in words), strict=True)
    return failing((Streak(*row) for row in rows), server.max_fails, int(server.fail_timeout * 1e9), now)
