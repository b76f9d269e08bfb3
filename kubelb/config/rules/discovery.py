"""The rules for servers whose names are looked up while the proxy runs; pure."""

from __future__ import annotations

from collections.abc import Iterator

from kubelb.config.faults import Key
from kubelb.config.model.pools import Discovery, Pool, Server
from kubelb.config.rules.rule import Problem, duration_problems
from kubelb.config.values import is_numeric


def is_looked_up_again(server: Server, pool: Pool) -> bool:
    """Whether its addresses may be others while the proxy runs."""
    return pool.discovery is not None and server.resolve and server.address.is_name


def discovery_problems(key: Key, pool: Pool) -> Iterator[Problem]:
    """Of the pool ``key``."""
    for i, server in enumerate(pool.servers):
        if server.service:
            yield from _service_problems((*key, "servers", i), server, pool)
        elif pool.discovery is None and not server.resolve:
            yield (*key, "servers", i, "resolve"), "the pool has no discovery", "leave it out"
    if pool.discovery is not None:
        yield from _lookup_problems((*key, "discovery"), pool, pool.discovery)
        yield from _name_problems(key, pool)


def _lookup_problems(key: Key, pool: Pool, discovery: Discovery) -> Iterator[Problem]:
    if pool.servers and not any(is_looked_up_again(server, pool) for server in pool.servers):
        yield key, "no server of the pool is a name that is looked up", "leave it out, or write names"
    if not discovery.ipv4 and not discovery.ipv6:
        yield (*key, "ipv6"), '"ipv4" and "ipv6" cannot both be "off"', "ask for one of them"
    yield from duration_problems((*key, "interval"), discovery.interval)
    yield from duration_problems((*key, "timeout"), discovery.timeout)
    for i, address in enumerate(discovery.resolver):
        if not is_numeric(address.host):
            yield (*key, "resolver", i), f'"{address.host}" is a name', "write an address, for example 10.96.0.10:53"


def _name_problems(key: Key, pool: Pool) -> Iterator[Problem]:
    for i, server in enumerate(pool.servers):
        asked = server.name if server.service else server.address.host
        if is_looked_up_again(server, pool) and not _is_host_name(asked):
            yield (*key, "servers", i), f'"{asked}" is not a host name', None


def _service_problems(key: Key, server: Server, pool: Pool) -> Iterator[Problem]:
    """Of a server whose SRV records are asked for."""
    host = server.address.host
    if not server.address.is_name:
        yield (*key, "address"), f"{server.address} has no SRV records", "write a name"
    elif server.address.port:
        yield (*key, "address"), "a service has no port, its SRV records have one", f'write "{host}"'
    if pool.discovery is None:
        yield (*key, "service"), "the pool has no discovery", "give it one, with a resolver"
    elif not server.resolve:
        yield (*key, "resolve"), "a service is always looked up again", "leave it out"
    elif not pool.discovery.resolver:
        what = "the system gives no SRV records"
        yield (*key, "service"), what, 'write DNS servers to ask, for example resolver = ["10.96.0.10:53"]'


def _is_host_name(name: str) -> bool:
    """Whether it can be asked for (RFC 1035, 2.3.4)."""
    try:
        encoded = name.removesuffix(".").encode("idna")
    except UnicodeError:
        return False
    return 0 < len(encoded) <= 253 and all(0 < len(label) < 64 for label in encoded.split(b"."))
