from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.balance.hashing import ConsistentHash, Hash
from kubelb.balance.round_robin import RoundRobin
from kubelb.snapshot import Server
from tests.pure.balance.nginx import ConsistentHashPeers, HashPeers
from tests.pure.balance.pools import a_pool, a_server, keys, subsets, weights

_RNG = random.Random(0)
_KEYS = [b"10.%d.%d.%d" % (number % 7, number // 256, number % 256) for number in range(2000)]

_LIKE_NGINX = pytest.mark.parametrize(("hashed", "nginx"), [(Hash, HashPeers), (ConsistentHash, ConsistentHashPeers)])
Hashed = type[Hash | ConsistentHash]
Nginx = type[HashPeers | ConsistentHashPeers]

distinct_servers = st.lists(
    st.tuples(st.integers(1, 200), st.integers(1, 5)), min_size=2, max_size=9, unique_by=lambda s: s[0]
)


def _named(servers: Sequence[tuple[int, int]]) -> list[Server]:
    return [a_server(number, weight=weight) for number, weight in servers]


def _homes(servers: Sequence[Server], allowed: Sequence[int] | None = None) -> list[str]:
    """The name of the server that each key goes to."""
    selector = ConsistentHash(servers)
    allowed = range(len(servers)) if allowed is None else allowed
    return [servers[selector.pick(allowed, [], key, _RNG)].name for key in _KEYS]


names = st.sampled_from(["api:6443", "api:6444", "[fd00::1]:6443", "unix:/run/api", "unix:/run/api:1", "10.0.0.9:1"])


@_LIKE_NGINX
@settings(max_examples=50)
@given(
    data=st.data(),
    named=st.lists(st.tuples(names, st.integers(1, 5)), min_size=1, max_size=6),
    asked=st.lists(keys, min_size=1, max_size=20),
)
def test_a_key_has_the_server_that_nginx_gives_it(
    hashed: Hashed, nginx: Nginx, data: st.DataObject, named: list[tuple[str, int]], asked: list[bytes]
) -> None:
    servers = [a_server(i, name=name, weight=weight) for i, (name, weight) in enumerate(named)]
    selector, reference = hashed(servers), nginx(servers)
    for key in asked:
        allowed = data.draw(subsets(len(servers)))
        assert selector.pick(allowed, [], key, _RNG) == reference.get_peer(allowed, key)


@_LIKE_NGINX
def test_as_many_places_are_looked_at_as_in_nginx_before_turns_are_taken(hashed: Hashed, nginx: Nginx) -> None:
    """Most places are those of one that may not be picked."""
    servers = _named([(1, 40), (2, 1), (3, 1)])
    selector, reference = hashed(servers), nginx(servers)
    picks = [selector.pick([1, 2], [], key, _RNG) for key in _KEYS[:500]]
    assert picks == [reference.get_peer([1, 2], key) for key in _KEYS[:500]]


def test_a_key_that_falls_on_a_point_belongs_to_it() -> None:
    servers = _named([(1, 1), (2, 1)])
    on_the_first_point = b"10.0.0.%d\0006443" + bytes(4)
    for position, number in enumerate((1, 2)):
        assert ConsistentHash(servers).pick([0, 1], [], on_the_first_point % number, _RNG) == position


@settings(max_examples=25, deadline=None)
@given(distinct_servers, st.data())
def test_a_removed_server_moves_its_own_keys_only(numbers: list[tuple[int, int]], data: st.DataObject) -> None:
    servers = _named(numbers)
    gone = data.draw(st.sampled_from(servers))
    before, after = _homes(servers), _homes([server for server in servers if server is not gone])
    assert all(home in (new, gone.name) for home, new in zip(before, after, strict=True))


@settings(max_examples=25, deadline=None)
@given(distinct_servers, st.data())
def test_a_server_that_is_not_eligible_moves_its_own_keys_only(
    numbers: list[tuple[int, int]], data: st.DataObject
) -> None:
    servers = _named(numbers)
    away = data.draw(st.integers(0, len(servers) - 1))
    before = _homes(servers)
    after = _homes(servers, [position for position in range(len(servers)) if position != away])
    assert all(home in (new, servers[away].name) for home, new in zip(before, after, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=2, max_size=9, unique=True))
def test_an_added_server_takes_about_its_share(numbers: list[int]) -> None:
    *old, new = _named([(number, 1) for number in numbers])
    before, after = _homes(old), _homes([*old, new])
    moved = [home for home, now in zip(before, after, strict=True) if home != now]
    assert len(moved) == after.count(new.name)
    assert len(moved) <= 1.5 * len(_KEYS) / len(numbers)


@given(st.data(), weights, keys)
def test_the_pick_depends_on_the_key_alone_until_turns_are_taken(
    data: st.DataObject, weights: list[int], key: bytes
) -> None:
    servers = a_pool("hash", weights).servers
    everybody = range(len(weights))
    for selector in (Hash(servers), ConsistentHash(servers)):
        first = selector.pick(everybody, [], key, _RNG)
        for other in data.draw(st.lists(keys, max_size=5)):
            selector.pick(data.draw(subsets(len(weights))), [], other, _RNG)
        assert selector.pick(everybody, [], key, _RNG) == first


@settings(max_examples=25, deadline=None)
@given(weights)
def test_plain_hash_gives_keys_by_weight(weights: list[int]) -> None:
    selector = Hash(a_pool("hash", weights).servers)
    homes = [selector.pick(range(len(weights)), [], key, _RNG) for key in _KEYS]
    for position, weight in enumerate(weights):
        expected = len(_KEYS) * weight / sum(weights)
        assert abs(homes.count(position) - expected) <= 5 * expected**0.5 + 5


def test_servers_of_one_name_share_its_keys_in_turn() -> None:
    servers = [a_server(1), a_server(2, name="api:6443"), a_server(3, name="api:6443")]
    selector = ConsistentHash(servers)
    alone = ConsistentHash(servers[:2])
    shared = [key for key in _KEYS if alone.pick([0, 1], [], key, _RNG) == 1]
    picks = [selector.pick([0, 1, 2], [], key, _RNG) for key in shared]
    assert picks == [1, 2] * (len(shared) // 2) + [1] * (len(shared) % 2)


def test_servers_of_one_name_have_the_points_of_the_heaviest() -> None:
    both = [a_server(1, weight=1), a_server(1, weight=3), a_server(2)]
    assert _homes(both) == _homes([a_server(1, weight=3), a_server(2)])


@given(weights, weights, keys)
def test_backups_are_hashed_apart(primaries: list[int], spares: list[int], key: bytes) -> None:
    first = list(a_pool("hash", primaries).servers)
    second = [a_server(100 + number, weight=weight, backup=True) for number, weight in enumerate(spares)]
    plain = [a_server(100 + number, weight=weight) for number, weight in enumerate(spares)]
    for kind in (Hash, ConsistentHash):
        both, count = kind([*first, *second]), len(first)
        among_first = both.pick(range(count), [], key, _RNG)
        among_second = both.pick(range(count, count + len(second)), [], key, _RNG)
        assert among_first == kind(first).pick(range(count), [], key, _RNG)
        assert among_second - count == kind(plain).pick(range(len(plain)), [], key, _RNG)


def test_srv_records_of_one_host_share_its_keys_whatever_their_ports_are() -> None:
    """As in nginx, where a port counts only where it is configured."""
    found = [a_server(i, name=f"api:{port}", found_by="_x._tcp.y") for i, port in enumerate((1, 2), 1)]
    selector = ConsistentHash([*found, a_server(3, name="other:1", found_by="_x._tcp.y")])
    for key in _KEYS:
        picked = {selector.pick([0, 1, 2], [], key, _RNG) for _ in range(4)}
        assert picked in ({0, 1}, {2})
    configured = ConsistentHash([a_server(1, name="api:1"), a_server(2, name="api:2")])
    assert all(len({configured.pick([0, 1], [], key, _RNG) for _ in range(4)}) == 1 for key in _KEYS)


def test_a_server_from_an_srv_record_is_hashed_without_a_port() -> None:
    """As the path of a unix socket is."""
    found = [a_server(i, name=f"{host}:6443", found_by="_x._tcp.y") for i, host in enumerate(("api", "spare"))]
    reference = ConsistentHashPeers([a_server(i, name=f"unix:{host}") for i, host in enumerate(("api", "spare"))])
    selector = ConsistentHash(found)
    for key in _KEYS[:100]:
        assert selector.pick([0, 1], [], key, _RNG) == reference.get_peer([0, 1], key)


@pytest.mark.parametrize("hashed", [Hash, ConsistentHash])
def test_those_without_a_key_take_turns(hashed: Hashed) -> None:
    servers = _named([(1, 1), (2, 2), (3, 1)])
    selector, turns = hashed(servers), RoundRobin(servers)
    picked = [selector.pick(range(3), [], b"", _RNG) for _ in range(8)]
    assert picked == [turns.turn(range(3)) for _ in range(8)]
