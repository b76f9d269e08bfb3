"""Which servers are members, when that changes: what stays, what is new, what has to leave; pure.

A server is the same as long as its pool, its name and its address are, whichever SRV record has led to it. It keeps
its slot in the shared counters, its state and its sessions, whatever else of its settings changes. One that is no
member any more stays in the snapshot, draining, until its last session has gone; then its slot is free for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from kubelb.config.loops import IsLocal, Ways, is_loopback, told
from kubelb.config.values import Address
from kubelb.discovery.loops import ways_between
from kubelb.discovery.targets import Target, servers_of, targets_of
from kubelb.snapshot import Pool, Server, Snapshot, SocketAddress

IsHeld = Callable[[int], bool]
"""Takes a slot."""
_Identity = tuple[str, str, tuple[str, int]]
_JUDGED = ("slot", "since", "reason", "proven", "drained", "cut_at", "ramp_from", "probe")
"""What a server is, apart from its settings."""


class TooManyServers(Exception):
    """Those that are wanted and those that have not left yet are more than can be counted."""


def merge(
    running: Snapshot,
    wanted: Snapshot,
    slots: int,
    is_held: IsHeld = lambda slot: False,
    is_local: IsLocal = is_loopback,
) -> Snapshot:
    """``wanted``, as just resolved, with what is known of the servers that run. Slots are 1 to ``slots`` in all.
    One that ``is_held`` is for nobody: somebody may still count there for a server that has left. It is asked only
    where a server is new.

    Of names that are looked up while the proxy runs those addresses stay that are known, unless one is a listener
    now that leads back to its pool; ``is_local`` says which are this machine's. Pools and servers that are gone are
    at the end of their list. Raises :class:`TooManyServers`.
    """
    return _merged(running, _with_known(running, wanted, is_local), slots, is_held)


def found(
    running: Snapshot,
    pool: str,
    name: str,
    targets: Sequence[Target],
    slots: int,
    now: float,
    is_held: IsHeld = lambda slot: False,
    is_local: IsLocal = is_loopback,
) -> Snapshot:
    """The servers of that name in the pool are those from ``now`` on that this leads to, without those that
    :func:`left_out` tells of. The rest is as in :func:`merge`.

    The same object, where that is no news. Raises :class:`TooManyServers`.
    """
    wanted = _without_leaving(running)
    ways = ways_between(wanted.listeners, wanted.pools, is_local)
    pools = tuple(_refilled(one, name, targets, now, ways) if one.name == pool else one for one in wanted.pools)
    if pools == wanted.pools:
        return running
    return _merged(running, msgspec.structs.replace(wanted, pools=pools), slots, is_held)


def left_out(
    running: Snapshot, pool: str, name: str, targets: Sequence[Target], is_local: IsLocal = is_loopback
) -> tuple[str, ...]:
    """Why addresses that the name leads to are no servers of the pool: each is a listener of this proxy, and leads
    back to the pool."""
    wanted = _without_leaving(running)
    ways = ways_between(wanted.listeners, wanted.pools, is_local)
    found = (server for one in wanted.pools if one.name == pool for server in _led_to(one, name, targets, 0.0))
    addresses = dict.fromkeys(Address(*server.address) for server in found)
    return tuple(told(address, way) for address in addresses if (way := ways.back(address, pool)))


def changes(before: Snapshot, after: Snapshot, pool: str) -> tuple[list[str], list[str], list[str]]:
    """The addresses in the pool that have come, those that have gone or have to leave, and those that have another
    weight or are backups now or no longer."""
    old, new = (dict(_shares(one, pool)) for one in (before, after))
    altered = {address for address in old.keys() & new.keys() if old[address] != new[address]}
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    return _texts(added), _texts(removed), _texts(altered)


def _shares(snapshot: Snapshot, pool: str) -> Iterator[tuple[SocketAddress, tuple[int, bool]]]:
    for one in snapshot.pools:
        if one.name == pool:
            yield from ((server.address, _share(server)) for server in one.servers if not server.removed)


def _share(server: Server) -> tuple[int, bool]:
    return server.weight, server.backup


def _texts(addresses: Iterable[SocketAddress]) -> list[str]:
    return sorted(str(Address(*address)) for address in addresses)


def _refilled(pool: Pool, name: str, targets: Sequence[Target], since: float, ways: Ways) -> Pool:
    """With servers for these targets in place of those that the name has had."""
    if all(one.name != name for one in pool.names):
        return pool
    known = [server for server in pool.servers if _configured(server) == name]
    others = [server for server in pool.servers if _configured(server) != name]
    # Who is a member already is not made one a second time.
    taken = {_identity(pool, server) for server in others}
    new = [
        server
        for server in _led_to(pool, name, targets, since)
        if _identity(pool, server) not in taken and not ways.back(Address(*server.address), pool.name)
    ]
    if [_told(server) for server in known] == [_told(server) for server in new]:
        return pool
    servers = sorted((*others, *new), key=lambda server: pool.order.index(_configured(server)))
    return msgspec.structs.replace(pool, servers=tuple(servers))


def _led_to(pool: Pool, name: str, targets: Sequence[Target], since: float) -> list[Server]:
    """What the name leads to now; nothing, where the pool looks up no such name."""
    template = next((one for one in pool.names if one.name == name), None)
    known = [server for server in pool.servers if _configured(server) == name]
    return [] if template is None else servers_of(template, targets, known, since)


def _configured(server: Server) -> str:
    """The name in the configuration that it comes from."""
    return server.found_by or server.name


def _told(server: Server) -> tuple[object, ...]:
    """What DNS says of it."""
    return server.name, server.address, _share(server)


def _without_leaving(snapshot: Snapshot) -> Snapshot:
    pools = tuple(
        msgspec.structs.replace(pool, servers=tuple(server for server in pool.servers if not server.removed))
        for pool in snapshot.pools
    )
    return msgspec.structs.replace(snapshot, pools=pools)


def _with_known(running: Snapshot, wanted: Snapshot, is_local: IsLocal) -> Snapshot:
    known: dict[tuple[str, str], list[Server]] = {}
    for pool in running.pools:
        for server in pool.servers:
            if not server.removed:
                known.setdefault((pool.name, _configured(server)), []).append(server)
    pools = {pool.name: pool for pool in wanted.pools}
    for pool in wanted.pools:
        for name in pool.names:
            targets = targets_of(known.get((pool.name, name.name), ()))
            ways = ways_between(wanted.listeners, pools.values(), is_local)
            pools[pool.name] = _refilled(pools[pool.name], name.name, targets, name.since, ways)
    return msgspec.structs.replace(wanted, pools=tuple(pools.values()))


def _merged(running: Snapshot, wanted: Snapshot, slots: int, is_held: IsHeld) -> Snapshot:
    known = {_identity(pool, server): server for pool in running.pools for server in pool.servers}
    members = {_identity(pool, server) for pool in wanted.pools for server in pool.servers}
    taken = {server.slot for server in known.values()}
    free = (slot for slot in range(1, slots + 1) if slot not in taken and not is_held(slot))
    leaving = {pool.name: _leaving(pool, members) for pool in running.pools}
    pools = []
    for pool in wanted.pools:
        servers = [_member(known.get(_identity(pool, server)), server, free) for server in pool.servers]
        pools.append(msgspec.structs.replace(pool, servers=(*servers, *leaving.pop(pool.name, ()))))
    gone = [
        msgspec.structs.replace(pool, servers=leaving[pool.name], names=())
        for pool in running.pools
        if leaving.get(pool.name)
    ]
    return msgspec.structs.replace(wanted, version=running.version + 1, pools=(*pools, *gone))


def sweep(snapshot: Snapshot, sessions: Callable[[int], int]) -> Snapshot:
    """Without the servers that have left and have no session any more, and without pools that are empty then.

    ``sessions`` gives those of a slot. The same object, where nothing is to be swept.
    """
    pools = tuple(_swept(pool, sessions) for pool in snapshot.pools)
    if pools == snapshot.pools:
        return snapshot
    left = tuple(pool for pool in pools if pool.servers or pool.names)
    return msgspec.structs.replace(snapshot, version=snapshot.version + 1, pools=left)


def _identity(pool: Pool, server: Server) -> _Identity:
    return pool.name, server.name, server.address


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
