"""Which servers are members, when that changes: what stays, what is new, what has to leave; pure.

A server is the same as long as its pool, its name and its address are. It keeps its slot in the shared counters, its
state and its sessions, whatever else of its settings changes. One that is no member any more stays in the snapshot,
draining, until its last session has gone; then its slot is free for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from kubelb.snapshot import Pool, Server, Snapshot

_Identity = tuple[str, str, tuple[str, int]]
_JUDGED = ("slot", "since", "reason", "proven", "drained", "cut_at", "ramp_from", "probe")
"""What a server is, apart from its settings."""


class TooManyServers(Exception):
    """Those that are wanted and those that have not left yet are more than can be counted."""


def merge(running: Snapshot, wanted: Snapshot, slots: int) -> Snapshot:
    """``wanted``, as just resolved, with what is known of the servers that run. Slots are 1 to ``slots`` in all.

    Pools and servers that are gone are at the end of their list. Raises :class:`TooManyServers`.
    """
    known = {_identity(pool, server): server for pool in running.pools for server in pool.servers}
    members = {_identity(pool, server) for pool in wanted.pools for server in pool.servers}
    free = _free_slots(known.values(), slots)
    leaving = {pool.name: _leaving(pool, members) for pool in running.pools}
    pools = []
    for pool in wanted.pools:
        servers = [_member(known.get(_identity(pool, server)), server, free) for server in pool.servers]
        pools.append(msgspec.structs.replace(pool, servers=(*servers, *leaving.pop(pool.name, ()))))
    gone = [
        msgspec.structs.replace(pool, servers=leaving[pool.name]) for pool in running.pools if leaving.get(pool.name)
    ]
    return msgspec.structs.replace(wanted, version=running.version + 1, pools=(*pools, *gone))


def sweep(snapshot: Snapshot, sessions: Callable[[int], int]) -> Snapshot:
    """Without the servers that have left and have no session any more, and without pools that are empty then.

    ``sessions`` gives those of a slot. The same object, where nothing is to be swept.
    """
    pools = tuple(_swept(pool, sessions) for pool in snapshot.pools)
    if pools == snapshot.pools:
        return snapshot
    left = tuple(pool for pool in pools if pool.servers)
    return msgspec.structs.replace(snapshot, version=snapshot.version + 1, pools=left)


def _identity(pool: Pool, server: Server) -> _Identity:
    return pool.name, server.name, server.address


def _free_slots(taken: Iterable[Server], slots: int) -> Iterator[int]:
    used = {server.slot for server in taken}
    yield from (slot for slot in range(1, slots + 1) if slot not in used)


def _leaving(pool: Pool, members: set[_Identity]) -> tuple[Server, ...]:
    return tuple(
        msgspec.structs.replace(server, removed=True)
        for server in pool.servers
        if _identity(pool, server) not in members
    )


def _member(known: Server | None, wanted: Server, free: Iterator[int]) -> Server:
    if known is None:
        slot = next(free, None)
        if slot is None:
            raise TooManyServers
        return msgspec.structs.replace(wanted, slot=slot)
    kept = {name: getattr(known, name) for name in _JUDGED}
    if "disabled" in (known.state, wanted.state) or known.removed:
        return msgspec.structs.replace(wanted, slot=known.slot, proven=known.proven, drained=known.drained)
    return msgspec.structs.replace(wanted, state=known.state, **kept)


def _swept(pool: Pool, sessions: Callable[[int], int]) -> Pool:
    left = tuple(server for server in pool.servers if not server.removed or sessions(server.slot))
    return pool if len(left) == len(pool.servers) else msgspec.structs.replace(pool, servers=left)
