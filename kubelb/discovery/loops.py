"""Where sessions go from the listeners and pools of a snapshot, and which of its servers lead back; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kubelb.config.loops import IsLocal, Listened, Ways, told
from kubelb.config.values import Address, parse_address
from kubelb.snapshot import Listener, Pool, Server, Snapshot


def ways_between(listeners: Iterable[Listener], pools: Iterable[Pool], is_local: IsLocal) -> Ways:
    listened = [
        Listened(parse_address(listener.address), listener.reached[0], listener.takes_ipv4)
        for listener in listeners
        if len(listener.reached) == 1
    ]
    servers = {
        pool.name: [Address(*server.address) for server in pool.servers if server.state != "disabled"]
        for pool in pools
    }
    return Ways(listened, servers, is_local)


def leading_back(snapshot: Snapshot, is_local: IsLocal) -> Iterator[tuple[Pool, Server, str]]:
    """Each server through which sessions of its pool come back to the pool, and how."""
    ways = ways_between(snapshot.listeners, snapshot.pools, is_local)
    for pool in snapshot.pools:
        for server in pool.servers:
            address = Address(*server.address)
            if server.state != "disabled" and (way := ways.back(address, pool.name)):
                yield pool, server, told(address, way)
