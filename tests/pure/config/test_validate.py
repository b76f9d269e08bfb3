"""The rules, each broken once, in a model that is otherwise right."""

from __future__ import annotations

import math
import typing
from typing import Any

import msgspec
import pytest

from kubelb import stats
from kubelb.config.faults import Key, Place
from kubelb.config.model.config import Admin, Config
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.model.listeners import Limit, Listener
from kubelb.config.model.logs import AccessLog, Log, LogTarget, Syslog
from kubelb.config.model.pools import PASSIVE, Discovery, Health, Pool, ProbeKind, Rebalance, Server
from kubelb.config.validate import MAX_RELAY_THREADS, MAX_SERVERS, exposed_admin, unused_pools, validate
from kubelb.config.values import Address, Duration, parse_address


def _server(address: str = "10.0.0.1:6443") -> Server:
    return Server(address=parse_address(address))


_LISTENER = Listener(listen=(Address("127.0.0.1", 6443),), pool="a")
_POOL = Pool(servers=(_server(),))
_LOCATION = Location(path="/healthz")
_SYSLOG = Syslog(server=Address("unix:/dev/log", 0))
_TWO = "there is a syslog server already; write one of them in a "
_UNBUFFERED = "logs to syslog cannot be buffered; leave it out"
_TAG = 'syslog "tag" only allows alphanumeric characters and underscore'
_HTTP = HttpServer(listen=(Address("127.0.0.1", 8081),), locations=(_LOCATION,))
_GOOD = Config(listeners=(_LISTENER,), pools={"a": _POOL}, http=(_HTTP,))


def _with(**changes: object) -> Config:
    return msgspec.structs.replace(_GOOD, **changes)


def _pool(**changes: object) -> Config:
    return _with(pools={"a": msgspec.structs.replace(_POOL, **changes)})


def _listener(**changes: object) -> Config:
    return _with(listeners=(msgspec.structs.replace(_LISTENER, **changes),))


def _logging(**changes: Any) -> HttpServer:
    return msgspec.structs.replace(_HTTP, **changes)


def _logged_location(**changes: Any) -> Location:
    return msgspec.structs.replace(_LOCATION, access_logs=(AccessLog(**{"file": "/a", **changes}),))


def _http_log(**changes: Any) -> Config:
    return _with(http=(_logging(access_logs=(AccessLog(**{"file": "/a", **changes}),)),))


def _access_log(**changes: Any) -> Config:
    return _listener(access_logs=(AccessLog(**{"file": "/a", **changes}),))


def _tagged(tag: str) -> Syslog:
    return msgspec.structs.replace(_SYSLOG, tag=tag)


def _listen(*addresses: str) -> Config:
    return _listener(listen=tuple(map(parse_address, addresses)))


def _one(**changes: object) -> Config:
    return _pool(servers=(msgspec.structs.replace(_server(), **changes), _server("b:1")))


def _health(**changes: Any) -> Config:
    return _pool(health=Health(**changes))


def _rebalance(**changes: Any) -> Config:
    return _pool(rebalance=Rebalance(**changes))


def _location(**changes: object) -> Config:
    location = msgspec.structs.replace(_LOCATION, **changes)
    return _with(http=(msgspec.structs.replace(_HTTP, locations=(location,)),))


def _http(**settings: Any) -> Config:
    return _with(http=(msgspec.structs.replace(_HTTP, **settings),))


_TIME = "zero or too long; write a time above 0 and up to ten years"
_NO_BUFFER = "there is no buffer; write for example buffer = 65536"
_NO_NAME = "invalid variable name; a dollar sign is followed by the name of a variable"
_ZERO_TOO = "too long; write 0s or a time up to ten years"
_HEALTH = "pool.a.health"
_SIZE = "write for example 65536, 64k or 1m"


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
        (_listener(pool=None), "listener[0].pool: missing; write the name of a pool"),
        (_listener(answer=""), "listener[0].return: there is a pool too; leave one of the two out"),
        (_listener(pool=None, answer="$"), f"listener[0].return: {_NO_NAME}"),
        (
            _listener(access=("deny all", "refuse all")),
            'listener[0].access[1]: "refuse all" is no rule; write for example "allow 10.0.0.0/8" or "deny all"',
        ),
        (_listener(access=("allow 1.2.3",)), 'listener[0].access[0]: invalid parameter "1.2.3"'),
        (
            _listener(trusted_proxies=("a", "10.0.0.0/33")),
            'listener[0].trusted_proxies[1]: invalid parameter "10.0.0.0/33"',
        ),
        (
            _listener(proxy_protocol_timeout=Duration(1e9)),
            "listener[0].proxy_protocol_timeout: too long; write 0s or a time up to ten years",
        ),
        (_listener(connect_timeout=Duration(0)), f"listener[0].connect_timeout: {_TIME}"),
        (_listener(idle_timeout=Duration(1e9)), f"listener[0].idle_timeout: {_TIME}"),
        (_listener(hedge_delay=Duration(0)), f"listener[0].hedge_delay: {_TIME}"),
        (_listener(retry_timeout=Duration(0)), f"listener[0].retry_timeout: {_TIME}"),
        (_listener(max_tries=-1), "listener[0].max_tries: -1 is too few; write 0 (as many as there are) or more"),
        (_listener(upload_rate="1g"), f'listener[0].upload_rate: not a size: "1g"; {_SIZE}'),
        (_listener(download_rate=""), f'listener[0].download_rate: not a size: ""; {_SIZE}'),
        (
            _listener(bind="eth0"),
            'listener[0].bind: invalid address "eth0"; write for example 10.0.0.5 or 10.0.0.5:4000',
        ),
        (_listener(limits=(Limit(key="$", connections=1),)), f"listener[0].limit[0].key: {_NO_NAME}"),
        (
            _listener(limits=(Limit(key="$pid", connections=0),)),
            "listener[0].limit[0].connections: 0 is out of range; write a number from 1 to 65535",
        ),
        (
            _listener(limits=(Limit(key="$pid", connections=1), Limit(key="$pid", connections=2))),
            "listener[0].limit[1].key: a second limit of the same clients; leave one out, or name another zone",
        ),
        (_with(log=Log(file="")), "log.file: empty; write a path, or leave it out for standard error"),
        (_access_log(file=""), "listener[0].access_log[0].file: empty; write a path, or a syslog server"),
        (_access_log(syslog=_SYSLOG), f"listener[0].access_log[0].file: {_TWO}[[listener.access_log]]"),
        (_access_log(file="", syslog=_SYSLOG, gzip=1), f"listener[0].access_log[0].gzip: {_UNBUFFERED}"),
        (_access_log(file="", syslog=_SYSLOG, buffer=1), f"listener[0].access_log[0].buffer: {_UNBUFFERED}"),
        (_access_log(file="", syslog=_SYSLOG, flush=Duration(1)), f"listener[0].access_log[0].flush: {_UNBUFFERED}"),
        (_access_log(file="", syslog=_tagged("a-b")), f"listener[0].access_log[0].syslog.tag: {_TAG}"),
        (
            _with(log=Log(file="/a", syslog=_SYSLOG)),
            "log.file: there is a syslog server already; write one of them in [[log.also]]",
        ),
        (_with(log=Log(syslog=_tagged("x" * 33))), "log.syslog.tag: syslog tag length exceeds 32"),
        (
            _with(log=Log(also=(LogTarget(file=""),))),
            "log.also[0].file: empty; write a path, or leave it out for standard error",
        ),
        (
            _with(log=Log(also=(LogTarget(syslog=msgspec.structs.replace(_SYSLOG, severity="crit")),))),
            "log.also[0].syslog.severity: each event has its own; leave it out",
        ),
        (_access_log(format="$x"), 'listener[0].access_log[0].format: unknown "x" variable'),
        (_http_log(format="$x"), 'http[0].access_log[0].format: unknown "x" variable'),
        (_http_log(condition="$pipe"), 'http[0].access_log[0].if: unknown "pipe" variable'),
        (_http_log(syslog=_SYSLOG), f"http[0].access_log[0].file: {_TWO}[[http.access_log]]"),
        (
            _with(http=(_logging(locations=(_logged_location(file=""),)),)),
            "http[0].location[0].access_log[0].file: empty; write a path, or a syslog server",
        ),
        (_access_log(condition="$"), f"listener[0].access_log[0].if: {_NO_NAME}"),
        (
            _access_log(escape="json"),
            "listener[0].access_log[0].escape: without a format each line is a JSON object; "
            "leave it out, or write a format",
        ),
        (
            _access_log(buffer=-1),
            "listener[0].access_log[0].buffer: -1 is out of range; write a number of bytes from 0 to 67108864",
        ),
        (
            _access_log(gzip=10, buffer=1),
            "listener[0].access_log[0].gzip: 10 is no level; write a number from 1 to 9",
        ),
        (_access_log(gzip=1), f"listener[0].access_log[0].gzip: {_NO_BUFFER}"),
        (_access_log(flush=Duration(1)), f"listener[0].access_log[0].flush: {_NO_BUFFER}"),
        (_access_log(flush=Duration(0), buffer=1), f"listener[0].access_log[0].flush: {_TIME}"),
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
            'pool.a.hash_key: unknown "x" variable',
        ),
        (_one(weight=0), "pool.a.servers[0].weight: 0 is out of range; write a number from 1 to 65535"),
        (_one(weight=65536), "pool.a.servers[0].weight: 65536 is out of range; write a number from 1 to 65535"),
        (_one(max_fails=-1), "pool.a.servers[0].max_fails: -1 is too few; write 0 (never left out) or more"),
        (_one(max_conns=-1), "pool.a.servers[0].max_conns: -1 is too few; write 0 (no limit) or more"),
        (_one(fail_timeout=Duration(1e9)), f"pool.a.servers[0].fail_timeout: {_ZERO_TOO}"),
        (_one(tier=-1), "pool.a.servers[0].tier: -1 is out of range; write a number from 0 (first choice) to 255"),
        (_one(tier=256), "pool.a.servers[0].tier: 256 is out of range; write a number from 0 (first choice) to 255"),
        (_pool(drain_timeout=Duration(0)), f"pool.a.drain_timeout: {_TIME}"),
        (
            _pool(keepalive=Duration(0.5)),
            "pool.a.keepalive: out of range; write 0s (never) or a time from 1s to 32767s",
        ),
        (
            _pool(keepalive=Duration(32768)),
            "pool.a.keepalive: out of range; write 0s (never) or a time from 1s to 32767s",
        ),
        (
            _pool(user_timeout=Duration(0.0001)),
            "pool.a.user_timeout: out of range; write 0s (the kernel's own limit) or a time from 1ms to 24d",
        ),
        (
            _pool(user_timeout=Duration(25 * 86400)),
            "pool.a.user_timeout: out of range; write 0s (the kernel's own limit) or a time from 1ms to 24d",
        ),
        (_health(interval=Duration(0)), f"{_HEALTH}.interval: {_TIME}"),
        (_health(timeout=Duration(0)), f"{_HEALTH}.timeout: {_TIME}"),
        (_health(timeout=Duration(1e9)), f"{_HEALTH}.timeout: {_TIME}"),
        (_health(rise=0), f"{_HEALTH}.rise: 0 is too few; write 1 or more"),
        (_health(fall=0), f"{_HEALTH}.fall: 0 is too few; write 1 or more"),
        (_health(path="readyz"), f'{_HEALTH}.path: "readyz" is not a path; begin it with /'),
        (
            _health(path="/a b"),
            f'{_HEALTH}.path: "/a b" is not a path; write printable ASCII without spaces',
        ),
        (
            _health(path="/a\r\nX: y"),
            f'{_HEALTH}.path: "/a\\r\\nX: y" is not a path; write printable ASCII without spaces',
        ),
        (
            _health(expect=(200, 600)),
            f"{_HEALTH}.expect[1]: 600 is not an HTTP status; write a number from 100 to 599",
        ),
        (
            _health(server_name="a:443"),
            f'{_HEALTH}.server_name: "a:443" is not a host name; write a name or an address, without a port',
        ),
        (
            _health(server_name="a..b"),
            f'{_HEALTH}.server_name: "a..b" is not a host name; write a name or an address, without a port',
        ),
        (_health(port=0), f"{_HEALTH}.port: 0 is not a port; write a number from 1 to 65535"),
        (_health(port=65536), f"{_HEALTH}.port: 65536 is not a port; write a number from 1 to 65535"),
        (
            _pool(servers=(_server("unix:/run/a"), _server("b:1")), health=Health(port=6443)),
            f"{_HEALTH}.port: means nothing to unix:/run/a; leave it out, or give unix sockets a pool of their own",
        ),
        (_health(hang_timeout=Duration(0)), f"{_HEALTH}.hang_timeout: {_TIME}"),
        (_health(kubeconfig=""), f"{_HEALTH}.kubeconfig: empty; write the path of a file"),
        (
            _health(kubeconfig="/k", token_file="/t"),
            f"{_HEALTH}.token_file: the kubeconfig says that; leave one of the two out",
        ),
        (
            _health(kubeconfig="/k", cert_file="/c"),
            f"{_HEALTH}.cert_file: the kubeconfig says that; leave one of the two out",
        ),
        (_health(ca_file=""), f"{_HEALTH}.ca_file: empty; write the path of a file"),
        (_health(key_file="/k"), f"{_HEALTH}.key_file: no certificate for this key; write cert_file too"),
        (_health(reset_spread=Duration(1e9)), f"{_HEALTH}.reset_spread: {_ZERO_TOO}"),
        (_health(slow_start=Duration(1e9)), f"{_HEALTH}.slow_start: {_ZERO_TOO}"),
        (_rebalance(every=Duration(0)), f"pool.a.rebalance.every: {_TIME}"),
        (
            _rebalance(threshold=-0.1),
            "pool.a.rebalance.threshold: -0.1 is out of range; write 0 or more, 0.2 for a fifth",
        ),
        (
            _rebalance(threshold=math.nan),
            "pool.a.rebalance.threshold: nan is out of range; write 0 or more, 0.2 for a fifth",
        ),
        (
            _rebalance(threshold=math.inf),
            "pool.a.rebalance.threshold: inf is out of range; write 0 or more, 0.2 for a fifth",
        ),
        (_rebalance(at_most=0), "pool.a.rebalance.at_most: 0 is too few; write 1 or more"),
        (_rebalance(quiet=Duration(1e9)), f"pool.a.rebalance.quiet: {_ZERO_TOO}"),
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
        (
            _location(status=301, body="/a\nb"),
            'http[0].location[0].body: not a URL; write for example "https://example.org/"',
        ),
        (
            _location(access=("let me in",)),
            'http[0].location[0].access[0]: "let me in" is no rule'
            '; write for example "allow 10.0.0.0/8" or "deny all"',
        ),
        (
            _location(headers=(Header(name="a b", value=""),)),
            'http[0].location[0].header[0]: "a b" is not a name; write for example "Cache-Control"',
        ),
        (
            _location(headers=(Header(name="date", value=""),)),
            "http[0].location[0].header[0]: date is the endpoint's own to say; leave it out",
        ),
        (
            _location(headers=(Header(name="X-A", value="a\nb"),)),
            "http[0].location[0].header[0]: not what a header can say; write it on one line",
        ),
        (_location(body="$nothing_at_all"), 'http[0].location[0].body: unknown "nothing_at_all" variable'),
        (_location(body="$uri" * 65), "http[0].location[0].body: 65 variables; at most 64 in one text"),
        (
            _location(headers=(Header(name="X-A", value="${host"),)),
            'http[0].location[0].header[0]: the closing bracket in "host" variable is missing',
        ),
        (
            _location(keepalive_timeout=Duration(1e12)),
            "http[0].location[0].keepalive_timeout: too long; write 0s or a time up to ten years",
        ),
        (
            _location(keepalive_requests=-1),
            "http[0].location[0].keepalive_requests: -1 is too few; write 0 or more",
        ),
        (_http(keepalive_requests=-1), "http[0].keepalive_requests: -1 is too few; write 0 or more"),
        (
            _http(send_timeout=Duration(0)),
            "http[0].send_timeout: zero or too long; write a time above 0 and up to ten years",
        ),
        (
            _http(default_on=(Address("127.0.0.1", 1),)),
            "http[0].default_on[0]: 127.0.0.1:1 is not listened on; write it in listen, too",
        ),
        (_http(server_names=("a*",)), 'http[0].server_names[0]: invalid hostname or wildcard "a*"'),
        (
            _with(http=(msgspec.structs.replace(_HTTP, default_on=_HTTP.listen),) * 2),
            "http[1].default_on[0]: a duplicate default server for 127.0.0.1:8081",
        ),
        (
            _with(http=(msgspec.structs.replace(_HTTP, server_names=("a",)),) * 2),
            'http[1].server_names[0]: conflicting parameter "a"',
        ),
        (
            _http(listen=_HTTP.listen * 2),
            "http[0].listen[1]: 127.0.0.1:8081 is taken: "
            "127.0.0.1:8081 is listened on already; write each address once",
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


@pytest.mark.parametrize(
    ("setting", "value", "kinds"),
    [
        ("path", "/x", "https or http"),
        ("port", 1, "https, http, tls or tcp"),
        ("interval", Duration(2), "https, http, tls or tcp"),
        ("hang_timeout", Duration(2), "https, http, tls or tcp"),
        ("timeout", Duration(2), "https, http, tls or tcp"),
        ("rise", 2, "https, http, tls or tcp"),
        ("fall", 3, "https, http, tls or tcp"),
        ("expect", (204,), "https or http"),
        ("server_name", "x", "https, http or tls"),
        ("ca_file", "/x", "https or tls"),
        ("cert_file", "/x", "https or tls"),
        ("kubeconfig", "/x", "https or tls"),
        ("on_down", "keep", "https, http, tls or tcp"),
    ],
)
def test_a_setting_that_the_probe_has_no_use_for(setting: str, value: object, kinds: str) -> None:
    for kind in typing.get_args(ProbeKind):
        faults = [str(fault) for fault in validate(_health(**{"probe": kind, setting: value}), {})]
        instead = f"means nothing with probe {kind}; leave it out, or probe by {kinds}"
        assert faults == ([] if kind in kinds.replace(",", "").split() else [f"{_HEALTH}.{setting}: {instead}"])


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"probe": "http"}, "means nothing with probe http; leave it out, or probe by https"),
        ({"probe": "https"}, "no token for a server that nobody verifies; write ca_file too"),
    ],
)
def test_a_token_goes_only_to_whom_it_is_for(settings: dict[str, str], fault: str) -> None:
    config = _health(token_file="/x", **settings)
    assert [str(fault) for fault in validate(config, {})] == [f"{_HEALTH}.token_file: {fault}"]
    assert validate(_health(token_file="/x", ca_file="/c"), {}) == ()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            {"health": PASSIVE},
            "needs probes, to know where clients would find a server; set health.probe too, or leave it out",
        ),
        ({"balance": "hash"}, "balance hash sends clients back to where they were; leave one of the two out"),
    ],
)
def test_rebalancing_needs_somewhere_to_go(settings: dict[str, Any], fault: str) -> None:
    config = _pool(rebalance=Rebalance(), **settings)
    assert [str(fault) for fault in validate(config, {})] == [f"pool.a.rebalance: {fault}"]


def test_a_useless_setting_is_refused_although_it_is_the_default() -> None:
    places: dict[Key, Place] = {("pool", "a", "health", "fall"): Place("F", 3)}
    assert [str(fault) for fault in validate(_pool(health=PASSIVE), places)] == [
        "F:3: pool.a.health.fall: means nothing with probe off; leave it out, or probe by https, http, tls or tcp"
    ]


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
        _pool(balance="consistent_hash", servers=(_server(), msgspec.structs.replace(_server("b:1"), tier=255))),
        _pool(keepalive=Duration(0), user_timeout=Duration(0)),
        _pool(keepalive=Duration(32767), user_timeout=Duration(24 * 86400)),
        _pool(health=Health(probe="off", slow_start=Duration(0), reset_spread=Duration(5))),
        _health(reset_spread=Duration(0), slow_start=Duration(0), expect=(100, 599), server_name="fd00::1"),
        _health(
            server_name="kubernetes.default.svc", cert_file="/c", key_file="/k", path="/readyz?verbose&exclude=x"
        ),
        _health(kubeconfig="/k", ca_file="/c", server_name="x"),
        _rebalance(threshold=0.0, quiet=Duration(0)),
    ],
)
def test_allowed(config: Config) -> None:
    assert validate(config, {}) == ()


def test_limits_are_the_counters() -> None:
    assert (MAX_RELAY_THREADS, MAX_SERVERS) == (stats.ROWS // 3 - 2, stats.SLOTS - 1)


def test_a_fault_stands_where_the_nearest_part_was_read() -> None:
    places: dict[Key, Place] = {(): Place("F"), ("pool", "a"): Place("F", 7, "upstream")}
    assert str(validate(_one(weight=0), places)[0]).startswith("F:7: upstream: 0 is out of range")
    assert str(validate(_with(workers=0), places)[0]).startswith("F: workers: 0 is too few")


@pytest.mark.parametrize("other", ["127.0.0.1:6443", "0.0.0.0:6443"])
def test_the_admin_side_takes_an_address_of_its_own(other: str) -> None:
    config = msgspec.structs.replace(_listen(other), admin=Admin(listen=parse_address("127.0.0.1:6443")))
    assert [str(fault) for fault in validate(config, {("admin", "listen"): Place("F", 9)})] == [
        f"F:9: admin.listen: 127.0.0.1:6443 is taken: {other} is listened on already; write each address once"
    ]


def test_the_admin_side_is_no_health_endpoint_and_no_name() -> None:
    config = _with(admin=Admin(listen=Address("127.0.0.1", 8081)))
    assert [str(fault) for fault in validate(config, {})] == [
        "admin.listen: 127.0.0.1:8081 is taken: 127.0.0.1:8081 is listened on already; write each address once"
    ]
    config = _with(admin=Admin(listen=Address("localhost", 9000)))
    assert [str(fault) for fault in validate(config, {})] == [
        'admin.listen: "localhost" is a name; write an address, for example 127.0.0.1:9000'
    ]


@pytest.mark.parametrize(
    ("listen", "exposed"),
    [
        (None, False),
        ("127.0.0.1:9000", False),
        ("127.9.0.1:9000", False),
        ("[::1]:9000", False),
        ("0.0.0.0:9000", True),
        ("[::]:9000", True),
        ("10.0.0.1:9000", True),
    ],
)
def test_who_can_reach_the_admin_side(listen: str | None, exposed: bool) -> None:
    config = _with(admin=Admin(listen=None if listen is None else parse_address(listen)))
    assert validate(config, {}) == ()
    assert exposed_admin(config, {("admin",): Place("F", 9)}) == (
        (
            f"F:9: admin.listen: {listen} can be reached from other machines; "
            "they can see names, states and counts of all servers",
        )
        if exposed
        else ()
    )


def test_unused_pools() -> None:
    assert unused_pools(_GOOD) == ()
    assert unused_pools(_with(pools={"a": _POOL, "b": _POOL})) == ('pool "b": no listener sends sessions to it',)


_DNS = Discovery(source="dns")


@pytest.mark.parametrize(
    ("discovery", "server", "fault"),
    [
        (None, {"resolve": False}, "servers[0].resolve: the pool has no discovery; leave it out"),
        (_DNS, {"address": Address("10.0.0.1", 1)}, "discovery: no server of the pool is a name that is looked up"),
        (_DNS, {"resolve": False}, "discovery: no server of the pool is a name that is looked up"),
        (
            Discovery(source="dns", ipv4=False, ipv6=False),
            {},
            'discovery.ipv6: "ipv4" and "ipv6" cannot both be "off"',
        ),
        (Discovery(source="dns", interval=Duration(0)), {}, "discovery.interval: zero or too long"),
        (Discovery(source="dns", timeout=Duration(0)), {}, "discovery.timeout: zero or too long"),
        (Discovery(source="dns", resolver=(Address("b", 1),)), {}, 'discovery.resolver[0]: "b" is a name'),
        (_DNS, {"address": Address("a..b", 1)}, 'servers[0]: "a..b" is not a host name'),
        (_DNS, {"address": Address("x" * 64, 1)}, f'servers[0]: "{"x" * 64}" is not a host name'),
    ],
)
def test_names_that_are_looked_up_again(discovery: Discovery | None, server: dict[str, Any], fault: str) -> None:
    member = msgspec.structs.replace(_server("name:1"), **server)
    faults = validate(_pool(servers=(member,), discovery=discovery), {})
    assert [str(fault).partition("; ")[0] for fault in faults] == [f"pool.a.{fault}".partition("; ")[0]]


_ASKED = Discovery(source="dns", resolver=(Address("::1", 53),))


@pytest.mark.parametrize(
    ("discovery", "server", "faults"),
    [
        (_ASKED, {}, []),
        (_ASKED, {"service": "_https._udp", "weight": 7, "backup": False}, []),
        (None, {}, ["servers[0].service: the pool has no discovery; give it one, with a resolver"]),
        (
            _DNS,
            {},
            [
                "servers[0].service: the system gives no SRV records; "
                'write DNS servers to ask, for example resolver = ["10.96.0.10:53"]'
            ],
        ),
        (_ASKED, {"resolve": False}, ["servers[0].resolve: a service is always looked up again; leave it out"]),
        (
            _ASKED,
            {"address": Address("name", 6443)},
            ['servers[0].address: a service has no port, its SRV records have one; write "name"'],
        ),
        (
            _ASKED,
            {"address": Address("10.0.0.1", 0)},
            ["servers[0].address: 10.0.0.1 has no SRV records; write a name"],
        ),
        (_ASKED, {"service": "a..b"}, ['servers[0]: "a..b.name" is not a host name']),
        (_ASKED, {"service": "x" * 63}, [f'servers[0]: "_{"x" * 63}._tcp.name" is not a host name']),
    ],
)
def test_services(discovery: Discovery | None, server: dict[str, Any], faults: list[str]) -> None:
    one = msgspec.structs.replace(Server(address=Address("name", 0), service="https"), **server)
    found = validate(_pool(servers=(one, _server("other:1")), discovery=discovery), {})
    assert [str(fault) for fault in found] == [f"pool.a.{fault}" for fault in faults]


def test_a_service_twice() -> None:
    servers = [Server(address=Address(host, 0), service=how) for host, how in (("NAME", "s"), ("name", "_s._tcp"))]
    (fault,) = validate(_pool(servers=(*servers, _server("name:1")), discovery=_ASKED), {})
    what = "pool.a.servers[1].address: _s._tcp.name is in the pool already; write it once, with a weight"
    assert str(fault) == what


def test_names_that_may_be_looked_up_again() -> None:
    discovery = Discovery(source="dns", resolver=(Address("::1", 53),), ipv4=False)
    assert validate(_pool(servers=(_server("name.:1"), _server("10.0.0.1:1")), discovery=discovery), {}) == ()
