"""Configured names into addresses: the first snapshot.

Names that are looked up while the proxy runs are left to control. Runs in the command, before any process is forked,
and in the supervisor's reader. Owns no file descriptor.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from kubelb import snapshot
from kubelb.config.access import Network, parse_access, parse_network, parse_trusted
from kubelb.config.faults import ConfigFault, Fault, Key, Places, fault_at
from kubelb.config.log_targets import request_logs
from kubelb.config.loops import IsLocal
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.logs import AccessLog, Log, LogTarget
from kubelb.config.model.pools import Pool, Server
from kubelb.config.naming import is_named_by_variables, reached_pools
from kubelb.config.rules.discovery import is_looked_up_again
from kubelb.config.rules.loops import RIGHT
from kubelb.config.rules.process import max_clients
from kubelb.config.validate import MAX_SERVERS
from kubelb.config.values import Address
from kubelb.discovery.local import is_local
from kubelb.discovery.loops import leading_back
from kubelb.reasons import reason_of

L = TypeVar("L", bound="LogTarget | AccessLog")
Lookup = Callable[..., Any]
"""As :func:`socket.getaddrinfo`."""


def resolve(
    config: Config,
    places: Places | None = None,
    lookup: Lookup = socket.getaddrinfo,
    now: float = 0.0,
    is_local: IsLocal = is_local,
) -> snapshot.Snapshot:
    """Version 1 of the snapshot: slots count from 1 over all pools, and a name has one server for each address it
    resolves to, in the order of ``lookup`` (nginx's ``ngx_inet_resolve_host``, src/core/ngx_inet.c).

    ``now`` is since when they have their states, in seconds of the monotonic clock.
    :class:`ConfigFault` with every name that does not resolve, placed by ``places``, more addresses than slots, or
    servers that turn out to be listeners of this proxy and lead back to their pools.
    """
    resolver = _Resolver(places or {}, lookup, now)
    listeners = tuple(resolver.listeners(config))
    pools = tuple(resolver.pool(name, pool) for name, pool in config.pools.items())
    log = resolver.log(config.log)
    requests = tuple(resolver.target(one, key) for key, one in request_logs(config.http))
    if resolver.faults:
        raise ConfigFault(*resolver.faults)
    if resolver.slots > MAX_SERVERS:
        what = f"the servers resolve to {resolver.slots} addresses"
        raise ConfigFault(fault_at(places or {}, (), what, f"at most {MAX_SERVERS} can be counted"))
    resolved = snapshot.Snapshot(
        version=1,
        listeners=listeners,
        variables=config.variables,
        pools=pools,
        max_clients=max_clients(config),
        log=log,
        request_logs=requests,
    )
    if faults := [*_loop_faults(config, resolved, places or {}, is_local)]:
        raise ConfigFault(*faults)
    return resolved


def _loop_faults(config: Config, resolved: snapshot.Snapshot, places: Places, is_local: IsLocal) -> Iterator[Fault]:
    for pool, server, what in leading_back(resolved, is_local):
        members = config.pools[pool.name].servers
        i = next(i for i, configured in enumerate(members) if configured.name == server.name)
        found = f'"{members[i].address.host}" resolves to {server.address[0]}: ' * members[i].address.is_name
        yield fault_at(places, ("pool", pool.name, "servers", i), found + what, RIGHT)


class _Resolver:
    def __init__(self, places: Places, lookup: Lookup, now: float) -> None:
        self.faults: list[Fault] = []
        self.slots = 0
        self._places = places
        self._lookup = lookup
        self._now = now

    def pool(self, name: str, pool: Pool) -> snapshot.Pool:
        servers = [
            server
            for i, configured in enumerate(pool.servers)
            if not is_looked_up_again(configured, pool)
            for server in self._servers(configured, ("pool", name, "servers", i))
        ]
        again = [server for server in pool.servers if is_looked_up_again(server, pool)]
        return snapshot.Pool(
            name=name,
            balance=pool.balance,
            hash_key=pool.hash_key,
            servers=tuple(servers),
            names=tuple(self._server(server, 0, ("", server.address.port)) for server in again),
            order=tuple(server.name for server in pool.servers) if again else (),
            keepalive=float(pool.keepalive),
            user_timeout=float(pool.user_timeout),
            slow_start=float(pool.health.slow_start),
            reset_spread=float(pool.health.reset_spread),
        )

    def listeners(self, config: Config) -> Iterator[snapshot.Listener]:
        """One for each address, in configured order: sockets are bound in the same one."""
        for i, listener in enumerate(config.listeners):
            trusted = self._networks(listener.trusted_proxies, ("listener", i, "trusted_proxies"))
            pools = reached_pools(listener, config) if is_named_by_variables(listener.pool) else ()
            logs = tuple(
                self.target(log, ("listener", i, "access_log", j)) for j, log in enumerate(listener.access_logs)
            )
            for address in listener.listen:
                yield _listener(listener, address, trusted, pools, logs)

    def log(self, log: Log) -> Log:
        """With the address of each syslog server."""
        also = tuple(self.target(target, ("log", "also", i)) for i, target in enumerate(log.also))
        return msgspec.structs.replace(self.target(log, ("log",)), also=also)

    def target(self, log: L, key: Key) -> L:
        """Of several addresses the first counts, as in nginx."""
        if log.syslog is None:
            return log
        found = self._addresses(log.syslog.server, (*key, "syslog", "server"))
        syslog = msgspec.structs.replace(log.syslog, server=Address(*found[0])) if found else log.syslog
        return msgspec.structs.replace(log, syslog=syslog)

    def _networks(self, texts: Sequence[str], key: Key) -> tuple[Network, ...]:
        """A name is each of its addresses (``ngx_stream_realip_from``)."""
        found: list[Network] = []
        for i, text in enumerate(texts):
            if network := parse_trusted(text):
                found.append(network)
            else:
                hosts = (host for host, _ in self._addresses(Address(text, 0), (*key, i)))
                found += [parse_network(host.partition("%")[0]) for host in hosts]
        return tuple(found)

    def _servers(self, server: Server, key: Key) -> Iterator[snapshot.Server]:
        for address in self._addresses(server.address, key):
            self.slots += 1
            yield self._server(server, self.slots, address)

    def _server(self, server: Server, slot: int, address: snapshot.SocketAddress) -> snapshot.Server:
        return snapshot.Server(
            slot=slot,
            name=server.name,
            address=address,
            found_by=server.name if server.service else "",
            weight=server.weight,
            max_fails=server.max_fails,
            fail_timeout=float(server.fail_timeout),
            max_conns=server.max_conns,
            backup=server.backup,
            tier=server.tier,
            state="disabled" if server.down else "unknown",
            since=self._now,
        )

    def _addresses(self, address: Address, key: Key) -> list[snapshot.SocketAddress]:
        if not address.is_name:
            return [(address.host, address.port)]
        try:
            found = self._lookup(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        except (OSError, UnicodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "not a host name"
            self.faults.append(fault_at(self._places, key, f'"{address.host}" does not resolve: {reason}'))
            return []
        return list(dict.fromkeys((entry[4][0], entry[4][1]) for entry in found))


def _listener(
    listener: Listener,
    address: Address,
    trusted: tuple[Network, ...],
    pools: tuple[str, ...],
    access_logs: tuple[AccessLog, ...],
) -> snapshot.Listener:
    return snapshot.Listener(
        address=str(address),
        pool=listener.pool,
        pools=pools,
        assignments=listener.assignments,
        connect_timeout=float(listener.connect_timeout),
        hedge_delay=float(listener.hedge_delay),
        idle_timeout=None if listener.idle_timeout is None else float(listener.idle_timeout),
        half_close=listener.half_close,
        half_close_timeout=float(listener.half_close_timeout),
        upload_rate=listener.upload_rate,
        download_rate=listener.download_rate,
        max_tries=listener.max_tries,
        retry_timeout=None if listener.retry_timeout is None else float(listener.retry_timeout),
        bind=listener.bind,
        nodelay=listener.nodelay,
        limits=listener.limits,
        access_logs=access_logs,
        answer=listener.answer,
        accept_proxy_protocol=listener.accept_proxy_protocol,
        proxy_protocol_timeout=float(listener.proxy_protocol_timeout),
        send_proxy_protocol=listener.send_proxy_protocol,
        trusted_proxies=trusted,
        access=tuple(map(parse_access, listener.access)),
        takes_ipv4=not listener.socket.ipv6_only,
    )
