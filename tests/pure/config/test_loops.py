"""Which servers lead sessions back to the pool that they come from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.loops import Listened, Ways, is_loopback
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding, Listener
from kubelb.config.model.pools import Pool, Server
from kubelb.config.model.variables import Assignment, Variable
from kubelb.config.validate import validate
from kubelb.config.values import Address, parse_address

POOLS = ["a", "b", "c", "d"]
PORTS = range(1, 6)
graphs = st.tuples(
    st.dictionaries(st.sampled_from(PORTS), st.sampled_from(POOLS)),
    st.fixed_dictionaries({pool: st.sets(st.sampled_from(PORTS)) for pool in POOLS}),
)


def ways(listeners: dict[str, str], servers: dict[str, list[str]], *local: str) -> Ways:
    """Listeners by their addresses, with their pools; this machine's own addresses are ``local``."""
    return Ways(
        [Listened(parse_address(address), pool) for address, pool in listeners.items()],
        {pool: [parse_address(address) for address in addresses] for pool, addresses in servers.items()},
        lambda host: host in local,
    )


@given(graphs)
def test_a_way_back_is_found_where_there_is_one(graph: tuple[dict[int, str], dict[str, set[int]]]) -> None:
    """Ports stand for addresses: a session goes from a pool to a port, and from there to the listener's pool."""
    listeners, servers = graph
    made = ways(
        {f"10.0.0.1:{port}": pool for port, pool in listeners.items()},
        {pool: [f"10.0.0.1:{port}" for port in ports] for pool, ports in servers.items()},
    )
    reached = {port: {pool} for port, pool in listeners.items()}
    for _ in POOLS:
        reached = {
            port: pools.union(*(reached.get(next_port, set()) for pool in pools for next_port in servers[pool]))
            for port, pools in reached.items()
        }
    for pool in POOLS:
        for port in PORTS:
            way = made.back(Address("10.0.0.1", port), pool)
            assert bool(way) == (pool in reached.get(port, set()))
            if way:
                assert way[0].port == port
                assert listeners[way[-1].port] == pool
                steps = pairwise(way)
                assert all(after.port in servers[listeners[before.port]] for before, after in steps)


@pytest.mark.parametrize(
    ("listener", "server", "taken"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("127.0.0.1:1", "0.0.0.0:1", True),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:1", True),
        ("127.0.0.1:1", "localhost:1", False),
        ("0.0.0.0:1", "127.9.9.9:1", True),
        ("0.0.0.0:1", "0.0.0.0:1", True),
        ("0.0.0.0:1", "[::1]:1", False),
        ("0.0.0.0:1", "[::ffff:127.0.0.2]:1", True),
        ("0.0.0.0:1", "10.0.0.1:1", True),
        ("0.0.0.0:1", "10.0.0.2:1", False),
        ("[::1]:1", "[0::1]:1", True),
        ("[::1]:1", "[::]:1", True),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "[fd00::1]:1", True),
        ("[::]:1", "[fd00::2]:1", False),
        ("[::]:1", "127.0.0.1:1", False),
        ("[fe80::1%a]:1", "[fe80::1%a]:1", True),
        ("[fe80::1%a]:1", "[fe80::1%b]:1", False),
        ("unix:/run/x", "unix:/run/x", True),
        ("unix:/run/x", "unix:/run//./x", True),
        ("unix:/run/x", "unix:/run/y", False),
        ("unix:/run/x", "10.0.0.1:1", False),
        ("name:1", "name:1", False),
    ],
)
def test_what_a_listener_takes(listener: str, server: str, taken: bool) -> None:
    made = ways({listener: "a"}, {}, "10.0.0.1", "fd00::1")
    assert made.back(parse_address(server), "a") == ((parse_address(listener),) if taken else ())


def test_an_ipv6_socket_for_both_families() -> None:
    for server in ("127.0.0.1:1", "0.0.0.0:1", "[::1]:1", "10.0.0.1:1"):
        listened = Listened(parse_address("[::]:1"), "a", takes_ipv4=True)
        assert Ways([listened], {}, lambda host: host == "10.0.0.1").back(parse_address(server), "a")
    socket = Binding(ipv6_only=False)
    listener = Listener(listen=(Address("::", 1),), pool="a", socket=socket)
    (fault,) = faults(Config(listeners=(listener,), pools=a_config({}, a=["127.0.0.1:1"]).pools))
    assert "127.0.0.1:1 is listened on here ([::]:1)" in fault


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("10.0.0.1", "128.0.0.1", "fe80::1%lo", "::2", "::ffff:10.0.0.1")))


def a_config(listeners: dict[str, str], **servers: list[str]) -> Config:
    return Config(
        listeners=tuple(Listener(listen=(parse_address(at),), pool=pool) for at, pool in listeners.items()),
        pools={
            name: Pool(servers=tuple(Server(address=parse_address(text)) for text in texts))
            for name, texts in servers.items()
        },
    )


def faults(config: Config) -> list[str]:
    return [str(fault) for fault in validate(config, {})]


RIGHT = "; write the address of another server, or listen elsewhere"


def test_a_server_that_is_the_listener_is_refused() -> None:
    assert faults(a_config({"127.0.0.1:1": "a"}, a=["10.0.0.1:1", "127.0.0.1:1"])) == [
        f"pool.a.servers[1]: 127.0.0.1:1 is listened on here, and leads back to this pool{RIGHT}"
    ]
    assert faults(a_config({"0.0.0.0:1": "a"}, a=["127.0.0.1:1"])) == [
        f"pool.a.servers[0]: 127.0.0.1:1 is listened on here (0.0.0.0:1), and leads back to this pool{RIGHT}"
    ]


def test_a_chain_is_none_until_it_closes() -> None:
    listeners = {"127.0.0.1:1": "a", "127.0.0.1:2": "b", "unix:/c": "c"}
    chain = a_config(listeners, a=["127.0.0.1:2"], b=["unix:/c"], c=["10.0.0.1:1"])
    assert faults(chain) == []
    closed = a_config(listeners, a=["127.0.0.1:2"], b=["unix:/c"], c=["127.0.0.1:1"])
    through = "127.0.0.1:2 is listened on here, and leads back to this pool, through unix:/c and 127.0.0.1:1"
    assert f"pool.a.servers[0]: {through}{RIGHT}" in faults(closed)
    assert len(faults(closed)) == 3


def test_a_server_that_is_down_leads_nowhere() -> None:
    down = Server(address=Address("127.0.0.1", 1), down=True)
    pools = {"a": Pool(servers=(Server(address=Address("10.0.0.1", 1)), down))}
    assert faults(Config(listeners=(Listener(listen=(Address("127.0.0.1", 1),), pool="a"),), pools=pools)) == []


def test_a_listener_whose_pool_depends_on_the_client() -> None:
    """Where it can be one pool only, it is that."""
    at = (Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    pools = a_config({}, a=["127.0.0.1:2"], b=["10.0.0.1:1"]).pools
    by_port = Variable(kind="map", source="$server_port", values={"1": "a"}, default="b")
    listener = Listener(listen=at, pool="$p")
    assert faults(Config(listeners=(listener,), pools=pools, variables={"p": by_port})) == []
    always = Listener(listen=at, pool="$p", assignments=(Assignment(variable="p", value="a"),))
    (fault,) = faults(Config(listeners=(always,), pools=pools))
    assert fault.startswith("pool.a.servers[0]: 127.0.0.1:2 is listened on here, and leads back to this pool")


def test_a_listener_that_answers_by_itself_leads_nowhere() -> None:
    answers = Listener(listen=(Address("127.0.0.1", 2),), answer="hello")
    first = Listener(listen=(Address("127.0.0.1", 1),), pool="a")
    assert faults(Config(listeners=(first, answers), pools=a_config({}, a=["127.0.0.1:2"]).pools)) == []
