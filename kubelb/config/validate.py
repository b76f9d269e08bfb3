"""The rules that hold for a configuration whatever form it was written in; pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from kubelb.config.faults import Fault, Key, Places, fault_at, fault_of
from kubelb.config.log_format import of_sessions
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding, Listener
from kubelb.config.model.pools import Pool, Server
from kubelb.config.naming import reached_pools
from kubelb.config.rules.discovery import discovery_problems
from kubelb.config.rules.health import health_problems, port_problems, rebalance_problems
from kubelb.config.rules.http import http_problems
from kubelb.config.rules.limits import limit_problems
from kubelb.config.rules.logs import access_log_problems, log_problems
from kubelb.config.rules.loops import loop_problems
from kubelb.config.rules.process import process_problems
from kubelb.config.rules.proxy import proxy_problems
from kubelb.config.rules.reception import content_problems, reception_problems
from kubelb.config.rules.rule import HASHING, Problem, count_problems, duration_problems
from kubelb.config.rules.variables import assignment_problems, declared_own, variable_problems
from kubelb.config.values import Address, Duration, same_host
from kubelb.config.variables import Worker, compile_key
from kubelb.reasons import ValueFault

MAX_RELAY_THREADS: Final = 64
"""Rows of the shared counters (:data:`kubelb.stats.ROWS`) but for control's: each relay thread writes one."""
MAX_SERVERS: Final = 255
"""Columns of the shared counters (:data:`kubelb.stats.SLOTS`), less the one for the row as a whole."""
MAX_KEEPALIVE: Final = Duration(32767)
"""Seconds; Linux' MAX_TCP_KEEPIDLE (include/net/tcp.h)."""
MAX_USER_TIMEOUT: Final = Duration(24 * 86400)
"""Seconds; the kernel holds it as milliseconds in 31 bits."""
MAX_TIER: Final = 255
_INT: Final = (1 << 31) - 1

_TCP_ONLY: Final = ("keepalive", "keepalive_idle", "keepalive_interval", "keepalive_count", "fast_open")
_WITHOUT_BACKUP = (*HASHING, "random", "random_two")
_ANY = ("0.0.0.0", "::")


def validate(config: Config, places: Places) -> tuple[Fault, ...]:
    """Everything that is wrong with ``config``, in the order of the model; ``places`` says where it was read.

    What is wrong with a flag that counts for all pools is told once. Loops are looked for where all else is right.
    """
    problems = [*_problems(config, places)] or loop_problems(config)
    return tuple(dict.fromkeys(fault_at(places, *problem) for problem in problems))


def unused_pools(config: Config) -> tuple[str, ...]:
    """One line for each pool that no listener sends sessions to."""
    used = {pool for listener in config.listeners for pool in reached_pools(listener, config)}
    return tuple(f'pool "{name}": no listener sends sessions to it' for name in config.pools if name not in used)


def exposed_admin(config: Config, places: Places) -> tuple[str, ...]:
    """A line if the admin side can be reached from elsewhere."""
    address = config.admin.listen
    if address is None or ip_address(address.host).is_loopback:
        return ()
    what = f"{address} can be reached from other machines"
    return (str(fault_at(places, ("admin", "listen"), what, "they can see names, states and counts of all servers")),)


def _problems(config: Config, places: Places) -> Iterator[Problem]:
    yield from _process_problems(config)
    yield from process_problems(config)
    yield from log_problems(config.log)
    if not config.listeners:
        yield (), "nothing to do: no listener", "give at least one address to listen on, and a pool of servers"
    worker = Worker("", 0, declared_own(config))
    yield from variable_problems(config, worker)
    for i, listener in enumerate(config.listeners):
        yield from _listener_problems(("listener", i), listener, config, worker)
    for name, pool in config.pools.items():
        yield from _pool_problems(("pool", name), pool, places)
        yield from _hash_key_problems(("pool", name, "hash_key"), pool, worker)
    if (count := sum(len(pool.servers) for pool in config.pools.values())) > MAX_SERVERS:
        yield (), f"{count} servers in all pools", f"at most {MAX_SERVERS} can be counted"
    yield from http_problems(config.http)
    yield from _address_problems(config)


def _process_problems(config: Config) -> Iterator[Problem]:
    for name in ("workers", "threads", "max_open_files"):
        value = getattr(config, name)
        if isinstance(value, int):
            yield from count_problems((name,), value)
    workers = config.workers if isinstance(config.workers, int) else 1
    threads = config.threads if isinstance(config.threads, int) else 1
    if workers * threads > MAX_RELAY_THREADS:
        key = "threads" if threads > 1 else "workers"
        what = f"{workers} workers with {threads} relay thread{'s' * (threads > 1)} each"
        yield (key,), what, f"at most {MAX_RELAY_THREADS} relay threads in all"
    if not config.runtime_dir:
        yield ("runtime_dir",), "empty", "write a directory"
    yield from duration_problems(("shutdown_timeout",), config.shutdown_timeout)


def _listener_problems(key: Key, listener: Listener, config: Config, worker: Worker) -> Iterator[Problem]:
    if not listener.listen:
        yield (*key, "listen"), "no address", "give at least one, for example 127.0.0.1:6443"
    yield from _binding_problems((*key, "socket"), listener.socket)
    yield from _unix_problems(key, listener)
    yield from assignment_problems(key, listener, worker)
    yield from content_problems(key, listener, config.pools, worker)
    yield from reception_problems(key, listener)
    yield from limit_problems(key, listener, worker)
    yield from proxy_problems(key, listener, worker)
    for i, log in enumerate(listener.access_logs):
        yield from access_log_problems((*key, "access_log", i), log, of_sessions(worker))


def _binding_problems(key: Key, binding: Binding) -> Iterator[Problem]:
    for name, least, most in (
        ("backlog", 1, _INT),
        ("receive_buffer", 1, _INT),
        ("send_buffer", 1, _INT),
        ("fast_open", 0, _INT),
        ("keepalive_idle", 0, MAX_KEEPALIVE),
        ("keepalive_interval", 0, MAX_KEEPALIVE),
        ("keepalive_count", 0, 127),
    ):
        value = getattr(binding, name)
        if value is not None and (not least <= value <= most or value != int(value)):
            yield (*key, name), "out of range", f"write a whole number from {least} to {int(most)}"


def _unix_problems(key: Key, listener: Listener) -> Iterator[Problem]:
    given = [name for name in _TCP_ONLY if getattr(listener.socket, name)]
    for i, address in enumerate(listener.listen):
        if given and address.path is not None:
            yield (*key, "listen", i), f"{given[0]} means nothing on a unix socket", "give it a listener of its own"


def _pool_problems(key: Key, pool: Pool, places: Places) -> Iterator[Problem]:
    yield from _members_problems(key, pool)
    yield from duration_problems((*key, "drain_timeout"), pool.drain_timeout)
    yield from _transport_problems(key, pool)
    yield from health_problems((*key, "health"), pool.health, places)
    yield from port_problems((*key, "health"), pool)
    yield from discovery_problems(key, pool)
    if pool.rebalance is not None:
        yield from rebalance_problems((*key, "rebalance"), pool.rebalance, pool)


def _members_problems(key: Key, pool: Pool) -> Iterator[Problem]:
    if not pool.servers:
        yield (*key, "servers"), "no servers", "give at least one"
    elif all(server.down for server in pool.servers):
        yield (*key, "servers"), "every server is down", "leave at least one up"
    elif all(server.backup for server in pool.servers):
        yield (*key, "servers"), "every server is a backup", "leave at least one that is not"
    seen: dict[tuple[str, int], int] = {}
    for i, server in enumerate(pool.servers):
        here = (*key, "servers", i)
        host = server.name if server.service else server.address.host
        first = seen.setdefault((same_host(host), server.address.port), i)
        if first != i:
            yield (*here, "address"), f"{server.name} is in the pool already", "write it once, with a weight"
        if server.backup and pool.balance in _WITHOUT_BACKUP:
            yield (*here, "backup"), f"balance {pool.balance} knows no backup", "leave one of the two out"
        yield from _server_problems(here, server)


def _transport_problems(key: Key, pool: Pool) -> Iterator[Problem]:
    if pool.keepalive and not 1 <= pool.keepalive <= MAX_KEEPALIVE:
        yield (*key, "keepalive"), "out of range", f"write 0s (never) or a time from 1s to {MAX_KEEPALIVE}"
    if pool.user_timeout and not 0.001 <= pool.user_timeout <= MAX_USER_TIMEOUT:
        right = f"write 0s (the kernel's own limit) or a time from 1ms to {MAX_USER_TIMEOUT}"
        yield (*key, "user_timeout"), "out of range", right


def _hash_key_problems(key: Key, pool: Pool, worker: Worker) -> Iterator[Problem]:
    if pool.balance not in HASHING and pool.hash_key != Pool(servers=()).hash_key:
        yield key, f"balance {pool.balance} does not hash", "leave hash_key out, or write balance hash"
    try:
        compile_key(pool.hash_key, worker)
    except ValueFault as error:
        fault = fault_of(error)
        yield key, fault.what, fault.instead


def _server_problems(key: Key, server: Server) -> Iterator[Problem]:
    if not 1 <= server.weight <= 65535:
        yield (*key, "weight"), f"{server.weight} is out of range", "write a number from 1 to 65535"
    if server.max_fails < 0:
        yield (*key, "max_fails"), f"{server.max_fails} is too few", "write 0 (never left out) or more"
    if server.max_conns < 0:
        yield (*key, "max_conns"), f"{server.max_conns} is too few", "write 0 (no limit) or more"
    yield from duration_problems((*key, "fail_timeout"), server.fail_timeout, zero=True)
    if not 0 <= server.tier <= MAX_TIER:
        yield (*key, "tier"), f"{server.tier} is out of range", f"write a number from 0 (first choice) to {MAX_TIER}"


def _address_problems(config: Config) -> Iterator[Problem]:
    taken: dict[int, list[tuple[Key, Address]]] = {}
    for key, address in _listens(config):
        of_port = taken.setdefault(address.port, [])
        others = (other for place, other in of_port if not _shared((key, address), (place, other)))
        if address.path is not None and key[0] == "admin":
            yield key, f"{address}: the admin side over TCP has no unix socket", "write an address and a port"
        elif address.is_name:
            yield key, f'"{address.host}" is a name', f"write an address, for example 127.0.0.1:{address.port}"
        elif other := next((other for other in others if _overlap(address, other)), None):
            yield key, f"{address} is taken: {other} is listened on already", "write each address once"
        of_port.append((key, address))


def _shared(one: tuple[Key, Address], other: tuple[Key, Address]) -> bool:
    """Several health endpoints may have the same address."""
    (key, address), (place, taken) = one, other
    return address == taken and key[0] == place[0] == "http" and key[1] != place[1]


def _listens(config: Config) -> Iterator[tuple[Key, Address]]:
    for i, listener in enumerate(config.listeners):
        yield from ((("listener", i, "listen", j), address) for j, address in enumerate(listener.listen))
    for i, endpoint in enumerate(config.http):
        yield from ((("http", i, "listen", j), address) for j, address in enumerate(endpoint.listen))

    if config.admin.listen is not None:
        yield ("admin", "listen"), config.admin.listen


def _overlap(one: Address, other: Address) -> bool:
    """Can the two not be bound together? An IPv6 socket takes no IPv4 here."""
    if one.port != other.port or (":" in one.host) != (":" in other.host):
        return False
    hosts = {same_host(one.host), same_host(other.host)}
    return len(hosts) == 1 or not hosts.isdisjoint(_ANY)
