"""The rules, each broken once, in a model that is otherwise right."""

from __future__ import annotations

import msgspec
import pytest

from kubelb import stats
from kubelb.config.faults import Key, Place
from kubelb.config.model import Config, HttpServer, Listener, Location, Pool, Server
from kubelb.config.validate import MAX_RELAY_THREADS, MAX_SERVERS, unused_pools, validate
from kubelb.config.values import Address, Duration, parse_address


def _server(address: str = "10.0.0.1:6443") -> Server:
    return Server(address=parse_address(address))


_LISTENER = Listener(listen=(Address("127.0.0.1", 6443),), pool="a")
_POOL = Pool(servers=(_server(),))
_LOCATION = Location(path="/healthz")
_HTTP = HttpServer(listen=(Address("127.0.0.1", 8081),), locations=(_LOCATION,))
_GOOD = Config(listeners=(_LISTENER,), pools={"a": _POOL}, http=(_HTTP,))


def _with(**changes: object) -> Config:
    return msgspec.structs.replace(_GOOD, **changes)


def _pool(**changes: object) -> Config:
    return _with(pools={"a": msgspec.structs.replace(_POOL, **changes)})


def _listener(**changes: object) -> Config:
    return _with(listeners=(msgspec.structs.replace(_LISTENER, **changes),))


def _listen(*addresses: str) -> Config:
    return _listener(listen=tuple(map(parse_address, addresses)))


def _one(**changes: object) -> Config:
    return _pool(servers=(msgspec.structs.replace(_server(), **changes), _server("b:1")))


def _location(**changes: object) -> Config:
    location = msgspec.structs.replace(_LOCATION, **changes)
    return _with(http=(msgspec.structs.replace(_HTTP, locations=(location,)),))


_TIME = "zero or too long; write a time above 0 and up to ten years"


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (
            Config(),
            "nothing to do: no listener; give at least one address to listen on, and a pool of servers",
        ),
        (_with(workers=0), "workers: 0 is too few; write 1 or more"),
        (_with(threads=0), "threads: 0 is too few; write 1 or more"),
        (_with(max_open_files=0), "max_open_files: 0 is too few; write 1 or more"),
        (_with(runtime_dir=""), "runtime_dir: empty; write a directory"),
        (
            _with(workers=13, threads=5),
            "threads: 13 workers with 5 relay threads each; at most 64 relay threads in all",
        ),
        (_with(shutdown_timeout=Duration(0)), f"shutdown_timeout: {_TIME}"),
        (_listener(listen=()), "listener[0].listen: no address; give at least one, for example 127.0.0.1:6443"),
        (_listener(pool="b"), 'listener[0].pool: no pool "b"; defined: "a"'),
        (_with(pools={}), 'listener[0].pool: no pool "a"; no pool is defined'),
        (_listener(connect_timeout=Duration(0)), f"listener[0].connect_timeout: {_TIME}"),
        (_listener(idle_timeout=Duration(1e9)), f"listener[0].idle_timeout: {_TIME}"),
        (_pool(servers=()), "pool.a.servers: no servers; give at least one"),
        (
            _pool(servers=(msgspec.structs.replace(_server(), down=True),)),
            "pool.a.servers: every server is down; leave at least one up",
        ),
        (
            _pool(servers=(msgspec.structs.replace(_server(), backup=True),)),
            "pool.a.servers: every server is a backup; leave at least one that is not",
        ),
        (
            _pool(servers=(_server(), _server())),
            "pool.a.servers[1].address: 10.0.0.1:6443 is in the pool already; write it once, with a weight",
        ),
        (
            _pool(servers=(_server("[::1]:1"), _server("[0::1]:1"))),
            "pool.a.servers[1].address: [0::1]:1 is in the pool already; write it once, with a weight",
        ),
        (
            _pool(servers=(_server("h:1"), _server("H:1"))),
            "pool.a.servers[1].address: H:1 is in the pool already; write it once, with a weight",
        ),
        (
            _pool(hash_key="x"),
            "pool.a.hash_key: balance least_conn does not hash; leave hash_key out, or write balance hash",
        ),
        (
            _pool(balance="hash", hash_key="$x"),
            'pool.a.hash_key: unknown variable "$x" in a hash key; only $remote_addr can be used',
        ),
        (_one(weight=0), "pool.a.servers[0].weight: 0 is out of range; write a number from 1 to 65535"),
        (_one(weight=65536), "pool.a.servers[0].weight: 65536 is out of range; write a number from 1 to 65535"),
        (_one(max_fails=-1), "pool.a.servers[0].max_fails: -1 is too few; write 0 (never left out) or more"),
        (_one(max_conns=-1), "pool.a.servers[0].max_conns: -1 is too few; write 0 (no limit) or more"),
        (_one(fail_timeout=Duration(1e9)), f"pool.a.servers[0].fail_timeout: {_TIME}"),
        (
            _pool(servers=tuple(_server(f"h:{port}") for port in range(1, 257))),
            "256 servers in all pools; at most 255 can be counted",
        ),
        (
            _with(http=(HttpServer(listen=(), locations=(_LOCATION,)),)),
            "http[0].listen: no address; give at least one, for example 127.0.0.1:8081",
        ),
        (
            _with(http=(HttpServer(listen=_HTTP.listen),)),
            "http[0].location: no location; give at least one, with a path",
        ),
        (
            _with(http=(HttpServer(listen=_HTTP.listen, locations=(_LOCATION, _LOCATION)),)),
            'http[0].location[1].path: duplicate location "/healthz"',
        ),
        (_location(path="x"), 'http[0].location[0].path: "x" is not a path; begin it with /'),
        (
            _location(status=199),
            "http[0].location[0].status: 199 is not a final HTTP status; write a number from 200 to 599",
        ),
        (
            _location(content_type="a\nb"),
            'http[0].location[0].content_type: not a media type; write for example "text/plain"',
        ),
        (
            _location(stub_status=True, body="x"),
            "http[0].location[0].stub_status: stub_status makes the answer itself; leave status and body out",
        ),
        (
            _listen("localhost:1"),
            'listener[0].listen[0]: "localhost" is a name; write an address, for example 127.0.0.1:1',
        ),
        (
            _listen("[::1]:1", "[0::1]:1"),
            "listener[0].listen[1]: [0::1]:1 is taken: [::1]:1 is listened on already; write each address once",
        ),
        (
            _listen("0.0.0.0:8081"),
            "http[0].listen[0]: 127.0.0.1:8081 is taken: 0.0.0.0:8081 is listened on already; "
            "write each address once",
        ),
    ],
)
def test_rule(config: Config, fault: str) -> None:
    assert [str(fault) for fault in validate(config, {})] == [fault]


@pytest.mark.parametrize("balance", ["hash", "consistent_hash", "random", "random_two"])
def test_some_ways_of_balancing_know_no_backup(balance: str) -> None:
    servers = (_server(), msgspec.structs.replace(_server("b:1"), backup=True))
    (fault,) = validate(_pool(balance=balance, servers=servers), {})
    assert str(fault) == f"pool.a.servers[1].backup: balance {balance} knows no backup; leave one of the two out"


@pytest.mark.parametrize(
    "config",
    [
        _GOOD,
        _with(workers=64, threads="per-connection"),
        _with(workers=8, threads=8),
        _listen("0.0.0.0:6443", "[::]:6443", "0.0.0.0:6444"),
        _one(fail_timeout=Duration(0), max_fails=0, backup=True),
        _pool(balance="hash", hash_key="x-${remote_addr}"),
        _pool(servers=tuple(_server(f"h:{port}") for port in range(1, 256))),
        _location(path="/", status=503, body="no"),
    ],
)
def test_allowed(config: Config) -> None:
    assert validate(config, {}) == ()


def test_limits_are_the_counters() -> None:
    assert (MAX_RELAY_THREADS, MAX_SERVERS) == (stats.ROWS, stats.SLOTS - 1)


def test_a_fault_stands_where_the_nearest_part_was_read() -> None:
    places: dict[Key, Place] = {(): Place("F"), ("pool", "a"): Place("F", 7, "upstream")}
    assert str(validate(_one(weight=0), places)[0]).startswith("F:7: upstream: 0 is out of range")
    assert str(validate(_with(workers=0), places)[0]).startswith("F: workers: 0 is too few")


def test_unused_pools() -> None:
    assert unused_pools(_GOOD) == ()
    assert unused_pools(_with(pools={"a": _POOL, "b": _POOL})) == ('pool "b": no listener sends sessions to it',)
