"""From what is known of the servers to the next snapshot, and what of it is news to an operator; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from kubelb.config.model import pools as configured
from kubelb.config.values import Address
from kubelb.health.machine import Condition
from kubelb.snapshot import GOOD, Pool, Server, Snapshot, State

DRAINED = "the operator wants it empty"
REMOVED = "it is no member any more"

_DRAIN_TIMEOUT = configured.Pool(servers=()).drain_timeout
"""Of a pool whose own is not known."""

Level = Literal["debug", "info", "warning"]
_LEVELS: dict[State, Level] = {"suspect": "debug", "draining": "warning", "down": "warning"}
"""Any other state is ``info``."""


class Event(NamedTuple):
    """A line for the log."""

    level: Level
    name: str
    fields: dict[str, Any]


def decide(
    snapshot: Snapshot, conditions: Mapping[int, Condition], settings: Mapping[str, configured.Pool], now: float
) -> Snapshot:
    """The snapshot as the servers' conditions, by slot, would have it.

    The version grows when something has changed that workers go by. A pool without ``settings`` is leaving, and what
    they were nobody knows any more.
    """
    pools = tuple(_pool(pool, conditions, settings.get(pool.name), now) for pool in snapshot.pools)
    changed = any(_working(pool) != _working(before) for pool, before in zip(pools, snapshot.pools, strict=True))
    return msgspec.structs.replace(snapshot, version=snapshot.version + changed, pools=pools)


def _working(pool: Pool) -> list[tuple[object, ...]]:
    """What workers go by."""
    return [
        (server.slot, server.state, server.drained, server.removed, server.cut_at, server.ramp_from)
        for server in pool.servers
    ]


def _pool(pool: Pool, conditions: Mapping[int, Condition], settings: configured.Pool | None, now: float) -> Pool:
    judged = [_judged(server, conditions.get(server.slot), now) for server in pool.servers]
    good = {server.slot for server in judged if server.state in GOOD}
    servers = tuple(
        msgspec.structs.replace(server, cut_at=_cut_at(server, settings, bool(good - {server.slot})))
        for server in judged
    )
    return msgspec.structs.replace(pool, servers=servers)


def _judged(server: Server, condition: Condition | None, now: float) -> Server:
    if server.state == "disabled" and not server.removed:
        return server
    if server.removed or server.drained:
        reason = REMOVED if server.removed else DRAINED
        since = server.since if server.reason == reason else now
        return msgspec.structs.replace(server, state="draining", since=since, reason=reason, ramp_from=None)
    if condition is None:
        # Nobody probes it: without the operator's word there is nothing to say against it.
        if server.state == "unknown":
            return server
        return msgspec.structs.replace(server, state="unknown", since=now, reason="")
    return msgspec.structs.replace(
        server,
        state=condition.state,
        since=condition.since,
        reason=condition.reason,
        proven=condition.proven,
        ramp_from=condition.back_at if condition.state == "up" else None,
    )


def _cut_at(server: Server, settings: configured.Pool | None, others: bool) -> float | None:
    """When its sessions are to be reset; ``others``: they have somewhere else to go.

    Where nothing else is up nobody's session is cut, it may be the probes that are broken: unless the server has been
    removed, which is no matter of probes.
    """
    if settings is None:
        return server.since + _DRAIN_TIMEOUT if server.cut_at is None else server.cut_at
    if server.removed:
        return server.since + settings.drain_timeout
    on_down = settings.health.on_down
    if not others:
        return None
    if server.state == "draining" or (server.state == "down" and on_down == "drain"):
        return server.since + settings.drain_timeout
    return server.since if server.state == "down" and on_down == "reset" else None


def news(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    """A line for each server whose state is another one, with what it means for its sessions."""
    old = {server.slot: server for pool in before.pools for server in pool.servers}
    for pool in after.pools:
        for server in pool.servers:
            known = old.get(server.slot)
            if known is not None and server.state != known.state:
                yield _event(pool, server, known)


def _event(pool: Pool, server: Server, before: Server) -> Event:
    fields: dict[str, Any] = {"pool": pool.name, "server": server.name, "reason": server.reason}
    if server.name != str(Address(*server.address)):
        fields["address"] = server.address[0]
    level = _LEVELS.get(server.state, "info")
    if server.state == "suspect" and before.state == "unknown":
        level = "warning"
        fields["effect"] = "it is picked last until a probe passes"
    elif server.state == "up" and before.state == "suspect":
        level = "debug"
    elif server.cut_at is not None:
        wait = server.cut_at - server.since
        fields["sessions"] = f"are reset after {wait:g} s" if wait else "are reset"
    return Event(level, f"server_{server.state}", fields)
