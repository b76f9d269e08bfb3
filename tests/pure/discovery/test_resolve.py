"""The first snapshot, by a name service that is given."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from kubelb import snapshot
from kubelb.config.access import Rule, parse_network
from kubelb.config.faults import ConfigFault, Key, Place
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding, Listener
from kubelb.config.model.logs import AccessLog, Log, LogTarget, Syslog
from kubelb.config.model.pools import Discovery, Health, Pool, Server
from kubelb.config.values import Address, Duration, parse_address
from kubelb.discovery.resolve import resolve

_NAMES = {
    "two": ["10.0.0.9", "fd00::9", "10.0.0.9"],
    "one": ["10.0.0.1"],
    "many": [f"10.1.0.{i}" for i in range(254)],
}


def _lookup(host: str, port: int, **how: Any) -> list[Any]:
    assert how == {"type": socket.SOCK_STREAM, "flags": socket.AI_ADDRCONFIG}
    if host not in _NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "in the C library's words")
    return [(0, 0, 0, "", (address, port, 0, 0)) for address in _NAMES[host]]


def _config(**pools: list[str]) -> Config:
    servers = {name: tuple(Server(address=parse_address(text)) for text in texts) for name, texts in pools.items()}
    return Config(pools={name: Pool(servers=members) for name, members in servers.items()})


def test_snapshot() -> None:
    server = Server(
        address=Address("two", 6443),
        weight=2,
        max_fails=3,
        fail_timeout=Duration(4),
        max_conns=5,
        backup=True,
        down=True,
        tier=1,
    )
    config = Config(
        log=Log(access=True),
        listeners=(
            Listener(listen=(Address("127.0.0.1", 1), Address("::1", 1)), pool="b", idle_timeout=Duration(9)),
            Listener(
                listen=(Address("127.0.0.1", 2),), pool="a", connect_timeout=Duration(1), hedge_delay=Duration(0.5)
            ),
        ),
        pools={
            "b": Pool(servers=(Server(address=Address("10.0.0.2", 6443)), server), balance="round_robin"),
            "a": Pool(
                servers=(Server(address=Address("fd00::1", 1)),),
                balance="hash",
                hash_key="x$remote_addr",
                keepalive=Duration(1),
                user_timeout=Duration(2),
                health=Health(slow_start=Duration(3), reset_spread=Duration(4)),
            ),
        },
    )
    changes: dict[str, Any] = {
        "weight": 2,
        "max_fails": 3,
        "fail_timeout": 4.0,
        "max_conns": 5,
        "backup": True,
        "state": "disabled",
        "tier": 1,
    }
    assert resolve(config, lookup=_lookup, now=7.0) == snapshot.Snapshot(
        version=1,
        log=Log(access=True),
        listeners=(
            snapshot.Listener(address="127.0.0.1:1", pool="b", connect_timeout=2.0, idle_timeout=9.0),
            snapshot.Listener(address="[::1]:1", pool="b", connect_timeout=2.0, idle_timeout=9.0),
            snapshot.Listener(
                address="127.0.0.1:2", pool="a", connect_timeout=1.0, hedge_delay=0.5, idle_timeout=None
            ),
        ),
        pools=(
            snapshot.Pool(
                name="b",
                keepalive=5.0,
                user_timeout=60.0,
                slow_start=10.0,
                reset_spread=1.0,
                balance="round_robin",
                hash_key="$remote_addr",
                servers=(
                    snapshot.Server(slot=1, name="10.0.0.2:6443", address=("10.0.0.2", 6443), since=7.0),
                    snapshot.Server(slot=2, name="two:6443", address=("10.0.0.9", 6443), since=7.0, **changes),
                    snapshot.Server(slot=3, name="two:6443", address=("fd00::9", 6443), since=7.0, **changes),
                ),
            ),
            snapshot.Pool(
                name="a",
                keepalive=1.0,
                user_timeout=2.0,
                slow_start=3.0,
                reset_spread=4.0,
                balance="hash",
                hash_key="x$remote_addr",
                servers=(snapshot.Server(slot=4, name="[fd00::1]:1", address=("fd00::1", 1), since=7.0),),
            ),
        ),
    )


def test_how_a_listener_receives_clients() -> None:
    listener = Listener(
        listen=(Address("127.0.0.1", 1),),
        answer="x",
        accept_proxy_protocol=True,
        proxy_protocol_timeout=Duration(3),
        send_proxy_protocol=True,
        trusted_proxies=("10.0.0.1/8", "two", "unix:"),
        access=("allow ::1", "deny all"),
    )
    networks = map(parse_network, ("10.0.0.0/8", "10.0.0.9", "fd00::9", "unix:"))
    assert resolve(Config(listeners=(listener,)), lookup=_lookup).listeners == (
        snapshot.Listener(
            address="127.0.0.1:1",
            pool=None,
            connect_timeout=2.0,
            answer="x",
            accept_proxy_protocol=True,
            proxy_protocol_timeout=3.0,
            send_proxy_protocol=True,
            trusted_proxies=tuple(networks),
            access=(Rule(False, parse_network("::1")), Rule(True, None)),
        ),
    )


def test_a_trusted_name_that_does_not_resolve() -> None:
    listener = Listener(listen=(Address("127.0.0.1", 1),), pool="a", trusted_proxies=("::1", "neither"))
    places: dict[Key, Place] = {("listener", 0, "trusted_proxies", 1): Place("F", 3)}
    with pytest.raises(
        ConfigFault, match=r'^F:3: listener.0..trusted_proxies.1.: "neither" does not resolve: no such name$'
    ):
        resolve(Config(listeners=(listener,)), places, _lookup)


def test_addresses_never_touch_the_name_service() -> None:
    def lookup(*_: Any, **__: Any) -> Any:
        raise AssertionError

    assert len(resolve(_config(a=["10.0.0.1:1", "[fd00::1]:1"]), lookup=lookup).pools[0].servers) == 2


def test_every_name_that_does_not_resolve_is_told() -> None:
    places: dict[Key, Place] = {("pool", "a", "servers", 0): Place("F", 3)}
    with pytest.raises(ConfigFault) as caught:
        resolve(_config(a=["no:1", "one:1"], b=["neither:1"]), places, _lookup)
    assert [str(fault) for fault in caught.value.faults] == [
        'F:3: pool.a.servers[0]: "no" does not resolve: no such name',
        'pool.b.servers[0]: "neither" does not resolve: no such name',
    ]


def test_what_is_no_host_name_does_not_resolve() -> None:
    with pytest.raises(ConfigFault, match=r'pool\.a\.servers\[0\]: "a\.\.b" does not resolve: not a host name'):
        resolve(_config(a=["a..b:1"]), lookup=socket.getaddrinfo)


def test_more_addresses_than_slots() -> None:
    assert len(resolve(_config(a=["many:1", "one:1"]), lookup=_lookup).pools[0].servers) == 255
    with pytest.raises(ConfigFault, match="the servers resolve to 256 addresses; at most 255 can be counted"):
        resolve(_config(a=["many:1", "two:1"]), lookup=_lookup)


def test_names_that_are_looked_up_later_are_not_asked_for() -> None:
    servers = (
        Server(address=Address("no", 6443), weight=2),
        Server(address=Address("one", 1), resolve=False),
        Server(address=Address("10.0.0.1", 1)),
    )
    config = Config(pools={"a": Pool(servers=servers, discovery=Discovery(source="dns"))})
    (pool,) = resolve(config, lookup=_lookup, now=7.0).pools
    assert [server.name for server in pool.servers] == ["one:1", "10.0.0.1:1"]
    assert pool.names == (snapshot.Server(slot=0, name="no:6443", address=("", 6443), weight=2, since=7.0),)
    assert pool.order == ("no:6443", "one:1", "10.0.0.1:1")


def _syslog(server: str) -> Syslog:
    return Syslog(server=parse_address(server), tag="t")


def _logging(first: str, also: str, access: str) -> Config:
    log = Log(level="debug", syslog=_syslog(first), access=True, also=(LogTarget(), LogTarget(syslog=_syslog(also))))
    access_logs = (AccessLog(file="/a"), AccessLog(syslog=_syslog(access), format="x"))
    return Config(log=log, listeners=(Listener(listen=(Address("::1", 1),), pool="a", access_logs=access_logs),))


def _own(server: str, *listen: str) -> Config:
    config = _config(a=["10.0.0.7:1", server])
    listeners = (Listener(listen=tuple(map(parse_address, listen)), pool="a"),)
    return Config(listeners=listeners, pools=config.pools)


@pytest.mark.parametrize(
    ("server", "listen", "what"),
    [
        ("one:1", "10.0.0.1:1", '"one" resolves to 10.0.0.1: 10.0.0.1:1 is listened on here,'),
        ("two:1", "[::]:1", '"two" resolves to fd00::9: [fd00::9]:1 is listened on here ([::]:1),'),
        ("10.0.0.9:1", "0.0.0.0:1", "10.0.0.9:1 is listened on here (0.0.0.0:1),"),
    ],
)
def test_a_server_that_turns_out_to_be_the_listener(server: str, listen: str, what: str) -> None:
    places: dict[Key, Place] = {("pool", "a", "servers", 1): Place("F", 3)}
    with pytest.raises(ConfigFault) as caught:
        resolve(_own(server, listen), places, _lookup, is_local=lambda host: host in ("10.0.0.9", "fd00::9"))
    (fault,) = caught.value.faults
    right = " and leads back to this pool; write the address of another server, or listen elsewhere"
    assert str(fault) == f"F:3: pool.a.servers[1]: {what}{right}"


def test_a_name_at_which_an_ipv6_socket_takes_ipv4() -> None:
    listener = Listener(listen=(Address("::", 1),), pool="a", socket=Binding(ipv6_only=False))
    config = Config(listeners=(listener,), pools=_config(a=["one:1"]).pools)
    with pytest.raises(ConfigFault, match="is listened on here"):
        resolve(config, lookup=_lookup, is_local=lambda host: host == "10.0.0.1")


def test_a_server_that_is_another_machines_or_at_another_port_is_not_the_listener() -> None:
    for server in ("one:1", "10.0.0.8:1", "two:2"):
        config = _own(server, "0.0.0.0:1", "[::]:1")
        resolve(config, lookup=_lookup, is_local=lambda host: host in ("10.0.0.9", "fd00::9"))


def test_syslog_servers_have_their_first_address() -> None:
    made, plain = (
        resolve(config, lookup=_lookup)
        for config in (
            _logging("two:514", "unix:/dev/log", "one:9"),
            _logging("10.0.0.9:514", "unix:/dev/log", "10.0.0.1:9"),
        )
    )
    assert (made.log, made.listeners) == (plain.log, plain.listeners)
    assert made.log.syslog == _syslog("10.0.0.9:514")


def test_syslog_servers_that_nobody_knows() -> None:
    places: dict[Key, Place] = {
        ("log",): Place("F", 1, "error_log"),
        ("log", "also", 1): Place("F", 2, "error_log"),
        ("listener", 0, "access_log", 1): Place("F", 3, "access_log"),
    }
    with pytest.raises(ConfigFault) as caught:
        resolve(_logging("x:1", "y:1", "z:1"), places, _lookup)
    assert sorted(str(fault).partition(" does")[0] for fault in caught.value.faults) == [
        'F:1: error_log: "x"',
        'F:2: error_log: "y"',
        'F:3: access_log: "z"',
    ]
