"""The proxy as it is this moment, for whoever asks; pure.

Encoded as JSON this is what ``GET /status`` answers. Its form is stable: fields are added, none changes its
meaning or goes. Counts are sums over all workers, bytes are bytes, moments are Unix seconds, lengths of time seconds.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from kubelb import __version__
from kubelb import snapshot as snapshots
from kubelb.balance.passive import Streak, failing
from kubelb.balance.ramp import ramps
from kubelb.config.model.pools import Balance
from kubelb.config.values import Address
from kubelb.health.words import described
from kubelb.stats import Count


class Counters(Protocol):
    """What :class:`kubelb.stats.Table` gives."""

    def total(self, slot: int, count: int) -> int: ...

    def each(self, slot: int, count: int) -> list[int]: ...


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """How a server's last probe went."""

    at: float
    """When it ended."""
    seconds: float
    """It took so long."""
    fault: str
    """Why it failed; empty: it passed."""


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
    """Sessions that ended by a reset: of the client, of the server, or ours."""
    state: snapshots.State
    since: float
    """When it got into its state."""
    reason: str
    """Why; empty: there is nothing to say."""
    tier: int
    """Those of the lowest tier are used first."""
    backup: bool
    """Used when no other server is left."""
    drained: bool
    """The operator wants it empty; it gets no new session."""
    failing: bool
    """Left out for a while because of failed dials."""
    ramping: bool
    """It came back a moment ago, and its share of new sessions still grows."""
    probe: Probe | None
    """The last one; null: it was never probed."""
    finding: snapshots.Finding = "unknown"
    """What the evidence comes to."""
    evidence: str = ""
    """What is known of it, in words."""
    readiness_visible: bool | None = None
    """Whether it tells us whether it is ready; null: it has not been asked, or has not answered."""


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


def status(snapshot: snapshots.Snapshot, counters: Counters, pid: int, now: int, unix: float) -> Status:
    """The same moment on two clocks: ``now`` is nanoseconds of the monotonic one, ``unix`` Unix seconds.

    ``pid`` is the supervisor's.
    """
    began = unix - now / 1e9
    return Status(
        version=__version__,
        pid=pid,
        snapshot=snapshot.version,
        clients=clients(counters),
        pools=tuple(
            Pool(
                name=pool.name,
                balance=pool.balance,
                servers=tuple(_server(server, pool, counters, now, began) for server in pool.servers),
            )
            for pool in snapshot.pools
        ),
    )


def clients(counters: Counters) -> Clients:
    return Clients(active=counters.total(0, Count.ACTIVE), accepted=counters.total(0, Count.OPENED))


def _server(server: snapshots.Server, pool: snapshots.Pool, counters: Counters, now: int, began: float) -> Server:
    """``began`` is when the monotonic clock was 0, in Unix seconds."""

    def total(count: int) -> int:
        return counters.total(server.slot, count)

    known = server.known or snapshots.Condition()
    return Server(
        name=server.name,
        address=str(Address(*server.address)),
        active=total(Count.ACTIVE),
        opened=total(Count.OPENED),
        bytes_up=total(Count.BYTES_UP),
        bytes_down=total(Count.BYTES_DOWN),
        dial_failures=total(Count.DIAL_FAILURES),
        resets=total(Count.CLIENT_RESETS) + total(Count.SERVER_RESETS) + total(Count.CUTS),
        state=server.state,
        since=round(began + server.since, 3),
        reason=server.reason,
        tier=server.tier,
        backup=server.backup,
        drained=server.drained,
        failing=_failing(server, counters, now),
        ramping=ramps(server, pool.slow_start, now / 1e9),
        probe=_probe(server.probe, began),
        finding=known.finding,
        evidence=described(known, now / 1e9),
        readiness_visible=known.readiness_visible,
    )


def _probe(probe: snapshots.Probe | None, began: float) -> Probe | None:
    if probe is None:
        return None
    return Probe(at=round(began + probe.ended_at, 3), seconds=round(probe.seconds, 6), fault=probe.fault)


def _failing(server: snapshots.Server, counters: Counters, now: int) -> bool:
    words = (Count.FAILS, Count.FAILED_AT, Count.TRIED_AT, Count.PASSED_AT)
    rows = zip(*(counters.each(server.slot, word) for word in words), strict=False)
    return failing((Streak(*row) for row in rows), server.max_fails, int(server.fail_timeout * 1e9), now)
