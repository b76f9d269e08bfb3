"""The rules for servers whose names are looked up while the proxy runs; pure."""

from __future__ import annotations

from collections.abc import Iterator

from kubelb.config.faults import Key
from kubelb.config.model import Pool, Server
from kubelb.config.rules.rule import Problem, duration_problems
from kubelb.config.values import is_numeric


def is_looked_up_again(server: Server, pool: Pool) -> bool:
    """Whether its addresses may be others while the proxy runs."""
    return pool.discovery is not None and server.resolve and server.address.is_name


def discovery_problems(key: Key, pool: Pool) -> Iterator[Problem]:
    """Of the pool ``key``."""
    discovery = pool.discovery
    if discovery is None:
        for i, server in enumerate(pool.servers):
            if not server.resolve:
                yield (*key, "servers", i, "resolve"), "the pool has no discovery", "leave it out"
        return
    here = (*key, "discovery")
    if pool.servers and not any(is_looked_up_again(server, pool) for server in pool.servers):
        yield here, "no server of the pool is a name that is looked up", "leave it out, or write names"
    if not discovery.ipv4 and not discovery.ipv6:
        yield (*here, "ipv6"), '"ipv4" and "ipv6" cannot both be "off"', "ask for one of them"
    yield from duration_problems((*here, "interval"), discovery.interval)
    yield from duration_problems((*here, "timeout"), discovery.timeout)
    for i, address in enumerate(discovery.resolver):
        if not is_numeric(address.host):
            yield (*here, "resolver", i), f'"{address.host}" is a name', "write an address, for example 10.96.0.10:53"
    for i, server in enumerate(pool.servers):
        if is_looked_up_again(server, pool) and not _is_host_name(server.address.host):
            yield (*key, "servers", i), f'"{server.address.host}" is not a host name', None


def _is_host_name(name: str) -> bool:
    """Whether it can be asked for (RFC 1035, 2.3.4)."""
    try:
        encoded = name.removesuffix(".").encode("idna")
    except UnicodeError:
        return False
    return 0 < len(encoded) <= 253 and all(0 < len(label) < 64 for label in encoded.split(b"."))
