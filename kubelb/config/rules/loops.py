"""The rule that no server is a listener that leads back to the server's own pool; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubelb.config.loops import IsLocal, Listened, Ways, is_loopback, told
from kubelb.config.model.config import Config
from kubelb.config.naming import reached_pools
from kubelb.config.rules.rule import Problem

RIGHT: Final = "write the address of another server, or listen elsewhere"


def loop_problems(config: Config) -> Iterator[Problem]:
    """As far as addresses tell that are the same on every machine; names are not looked up."""
    ways = ways_of(config, is_loopback)
    for name, pool in config.pools.items():
        for i, server in enumerate(pool.servers):
            if not server.down and (way := ways.back(server.address, name)):
                yield ("pool", name, "servers", i), told(server.address, way), RIGHT


def ways_of(config: Config, is_local: IsLocal) -> Ways:
    """Those from each pool, as far as its servers are addresses."""
    listened = [
        Listened(address, reached[0], not listener.socket.ipv6_only)
        for listener in config.listeners
        if len(reached := reached_pools(listener, config)) == 1
        for address in listener.listen
    ]
    servers = {
        name: [server.address for server in pool.servers if not server.down] for name, pool in config.pools.items()
    }
    return Ways(listened, servers, is_local)
