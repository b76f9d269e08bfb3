"""From what is known of the servers to the next snapshot, and what of it is news to an operator; pure.

Evidence about a server alone never ends a session (:mod:`kubelb.health.machine`): its clients need somewhere to go,
a *refuge*. That is another server that was seen good by a look begun after the harm, or by bytes that came from it
since. A refuge that has itself been away is a sign of an outage that all shared; the others then get a few intervals
of probes to return as well, and every deadline counts from the refuge's return. So the server that returns first does
not make the old deadlines of the others due. An outage may be too short to be noticed of the refuge: so a server is
gone only once a connect that was begun after the refuge was seen good has not been answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from kubelb.config.model import pools as configured
from kubelb.config.values import Address
from kubelb.health.machine import is_behind
from kubelb.snapshot import GOOD, Condition, Pool, Server, Snapshot, Spares, State

DRAINED = "the operator wants it empty"
REMOVED = "it is no member any more"

_DRAIN_TIMEOUT = configured.Pool(servers=()).drain_timeout
"""Of a pool whose own is not known."""

_GRACE_INTERVALS = 3
"""Intervals of probes in which servers may return from an outage that all shared."""
_LEAST_GRACE = 2.0
"""Seconds."""
_TICK = 0.02
"""Seconds after the last byte that is known of from which on another one is news: one and the same byte has different
times in the relay and in the kernel."""

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
        (
            server.slot,
            server.state,
            server.drained,
            server.removed,
            server.cut_at,
            server.cut_spares,
            server.ramp_from,
            server.late,
        )
        for server in pool.servers
    ]


def _pool(pool: Pool, conditions: Mapping[int, Condition], settings: configured.Pool | None, now: float) -> Pool:
    judged = [_judged(server, conditions.get(server.slot), now) for server in pool.servers]
    size = sum(server.may_be_picked for server in judged)
    servers = tuple(_with_cut(server, judged, size, settings, now) for server in judged)
    return msgspec.structs.replace(pool, servers=servers)


def _judged(server: Server, condition: Condition | None, now: float) -> Server:
    if server.state == "disabled" and not server.removed:
        return msgspec.structs.replace(server, known=None)
    if server.removed or server.drained:
        reason = REMOVED if server.removed else DRAINED
        since = server.since if server.reason == reason else now
        return msgspec.structs.replace(
            server, state="draining", since=since, reason=reason, ramp_from=None, late=False, known=condition
        )
    if condition is None:
        # Nobody probes it: without the operator's word there is nothing to say against it.
        since = server.since if server.state == "unknown" else now
        return msgspec.structs.replace(server, state="unknown", since=since, reason="", late=False, known=None)
    return msgspec.structs.replace(
        server,
        state=condition.state,
        since=condition.since,
        reason=condition.reason,
        proven=condition.proven,
        ramp_from=condition.back_at if condition.state == "up" else None,
        late=condition.state == "up" and condition.finding == "late",
        known=condition,
    )


class _Cut(NamedTuple):
    """When sessions are to be reset, and which are passed over."""

    at: float | None
    spares: Spares = "nobody"
    against: float = 0.0


_STAY = _Cut(None)


def _with_cut(
    server: Server, pool: Sequence[Server], size: int, settings: configured.Pool | None, now: float
) -> Server:
    """``pool`` are all its servers, as they are judged now, of which so many may be picked."""
    others = [other for other in pool if other.slot != server.slot and other.state in GOOD]
    refuge = _refuge_since(others, server.known)
    refuge_from = None if refuge is None else now if server.refuge_from is None else server.refuge_from
    server = msgspec.structs.replace(server, refuge_from=refuge_from)
    cut = _cut(server, others, refuge, size, settings)
    return msgspec.structs.replace(server, cut_at=cut.at, cut_spares=cut.spares, cut_against=cut.against)


def _cut(
    server: Server, others: Sequence[Server], refuge: float | None, size: int, settings: configured.Pool | None
) -> _Cut:
    """What becomes of the sessions of a server; ``others`` are those in use, ``refuge`` is since when there is one to
    go to."""
    if settings is None:
        return _Cut(server.since + _DRAIN_TIMEOUT if server.cut_at is None else server.cut_at)
    if server.removed:
        return _Cut(server.since + settings.drain_timeout)
    if server.drained and server.state == "draining":
        return _Cut(server.since + settings.drain_timeout) if others else _STAY
    known = server.known
    if known is None or known.harm_from is None or refuge is None:
        return _STAY
    if server.state == "draining":
        return _Cut(max(server.since, refuge) + settings.drain_timeout)
    if server.state == "down" and settings.health.on_down != "keep":
        return _cut_of_dead(server, known, known.harm_from, refuge, _most_in_time_since(others, size), settings)
    return _STAY


def _cut_of_dead(
    server: Server,
    known: Condition,
    harm_from: float,
    refuge: float,
    majority: float,
    settings: configured.Pool,
) -> _Cut:
    """Of one that is down; ``majority`` is since when at least half of the pool has answered in time."""
    assert server.refuge_from is not None
    wait = settings.drain_timeout if settings.health.on_down == "drain" else 0.0
    if known.finding == "gone" and known.alive_at <= known.found_at and known.door_at >= server.refuge_from:
        shared = refuge > harm_from
        from_when = max(known.found_at, refuge + _grace(settings.health)) if shared else known.found_at
        return _Cut(from_when + wait, "acknowledged", known.found_at)
    if known.finding == "silent":
        silent_from = max(harm_from, known.heard_at, refuge, majority)
        if silent_from < math.inf:
            return _Cut(silent_from + settings.health.hang_timeout + wait, "heard", silent_from + _TICK)
    return _STAY


def _refuge_since(others: Sequence[Server], known: Condition | None) -> float | None:
    """Since when sessions of a server of which this is known have had somewhere to go; None: they have not been shown
    a place, or need none."""
    if known is None:
        return None
    # A byte that is not acknowledged is no harm yet, but it may come to that.
    harm_from = known.unacked_since if known.harm_from is None else known.harm_from
    if harm_from is None:
        return None
    since = [
        other.known.good_since
        for other in others
        if other.known is not None and max(other.known.good_at, other.known.heard_at) >= harm_from
    ]
    return min(since, default=None)


def _most_in_time_since(others: Sequence[Server], size: int) -> float:
    """Since when at least half of the pool has answered in time; infinity: it does not."""
    since = sorted(
        other.known.good_since for other in others if other.known is not None and not is_behind(other.known)
    )
    needed = (size + 1) // 2
    return since[needed - 1] if needed <= len(since) else math.inf


def _grace(health: configured.Health) -> float:
    return max(_GRACE_INTERVALS * health.interval, _LEAST_GRACE)


def _is_behind(pool: Pool) -> bool:
    """Whether most of its servers do not answer in time."""
    behind = sum(server.known is not None and is_behind(server.known) for server in pool.servers)
    return behind * 2 > len(pool.servers)


def news(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    """A line for each server whose state is another one, with what it means for its sessions, and one for a pool that
    has become slow."""
    old = {server.slot: server for pool in before.pools for server in pool.servers}
    for pool in after.pools:
        for server in pool.servers:
            known = old.get(server.slot)
            if known is not None and server.state != known.state:
                yield _event(pool, server, known)
        yield from _unseen(pool, old)
        if _is_behind(pool) and not any(_is_behind(one) for one in before.pools if one.name == pool.name):
            yield Event("warning", "pool_slow", {"pool": pool.name, "effect": "no session is cut for that"})


def _unseen(pool: Pool, old: Mapping[int, Server]) -> Iterator[Event]:
    """A line for each server that has ceased to tell whether it is ready, or never did."""
    for server in pool.servers:
        before = old.get(server.slot)
        if _hides_readiness(server) and not (before and _hides_readiness(before)):
            effect = "it is used like one that is ready"
            fields = {"pool": pool.name, "server": server.name, "reason": server.reason, "effect": effect}
            yield Event("warning", "readiness_not_visible", fields)


def _hides_readiness(server: Server) -> bool:
    return server.known is not None and server.known.readiness_visible is False


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
        wait = max(0.0, server.cut_at - server.since)
        fields["sessions"] = f"are reset after {wait:.3g} s" if wait else "are reset"
    elif server.state == "down":
        fields["sessions"] = "stay"
    return Event(level, f"server_{server.state}", fields)
