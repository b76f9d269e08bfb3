from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.discovery.members import TooManyServers, changes, found, left_out, merge, sweep
from kubelb.discovery.targets import Target
from kubelb.snapshot import Listener, Pool, Server, Snapshot, State

SLOTS = 6

names = st.sampled_from(["a:1", "b:1", "c:1", "d:1"])
states: st.SearchStrategy[State] = st.sampled_from(["unknown", "up", "down", "draining", "suspect"])


def a_snapshot(pools: dict[str, list[str]], **fields: object) -> Snapshot:
    """As resolved: slots count over all pools."""
    slots = iter(range(1, 100))
    made = [
        Pool(
            name=pool,
            balance="least_conn",
            hash_key="",
            servers=tuple(
                msgspec.structs.replace(
                    Server(slot=next(slots), name=name, address=(f"10.0.0.{ord(name[0])}", 1)), **fields
                )
                for name in members
            ),
        )
        for pool, members in pools.items()
    ]
    return Snapshot(version=1, listeners=(), pools=tuple(made))


def members(snapshot: Snapshot) -> dict[tuple[str, str], Server]:
    return {(pool.name, server.name): server for pool in snapshot.pools for server in pool.servers}


memberships = st.dictionaries(st.sampled_from(["p", "q"]), st.lists(names, unique=True, max_size=3), min_size=1)


@given(memberships, st.lists(memberships, max_size=5), states)
def test_nobody_is_lost_and_slots_are_ones_own(
    first: dict[str, list[str]], changes: list[dict[str, list[str]]], state: State
) -> None:
    running = a_snapshot(first, state=state, since=7.0, proven=True)
    for change in changes:
        try:
            after = merge(running, a_snapshot(change), SLOTS)
        except TooManyServers:
            assert len(set(members(running)) | set(members(a_snapshot(change)))) > SLOTS
            continue
        before, now = members(running), members(after)
        assert set(now) == set(before) | set(members(a_snapshot(change)))
        slots = [server.slot for server in now.values()]
        assert len(set(slots)) == len(slots)
        assert set(slots) <= set(range(1, SLOTS + 1))
        assert all(now[key].slot == server.slot for key, server in before.items())
        wanted = set(members(a_snapshot(change)))
        assert {key for key, server in now.items() if server.removed} == set(now) - wanted
        assert after.version == running.version + 1
        running = after


def test_what_stays_keeps_what_it_is_and_gets_its_new_settings() -> None:
    running = a_snapshot({"p": ["a:1", "b:1"]}, state="up", since=5.0, reason="well", proven=True, drained=True)
    after = merge(running, a_snapshot({"p": ["b:1", "a:1"]}, weight=9, tier=2), SLOTS)
    assert [(server.name, server.slot) for server in after.pools[0].servers] == [("b:1", 2), ("a:1", 1)]
    for server in after.pools[0].servers:
        assert (server.state, server.since, server.reason, server.proven, server.drained) == (
            "up", 5.0, "well", True, True,
        )  # fmt: skip
        assert (server.weight, server.tier) == (9, 2)


def test_configured_down_and_up_again() -> None:
    up = a_snapshot({"p": ["a:1"]}, state="up")
    down = merge(up, a_snapshot({"p": ["a:1"]}, state="disabled"), SLOTS)
    assert down.pools[0].servers[0].state == "disabled"
    assert merge(down, a_snapshot({"p": ["a:1"]}), SLOTS).pools[0].servers[0].state == "unknown"


def test_one_that_comes_back_before_it_is_empty() -> None:
    running = merge(a_snapshot({"p": ["a:1", "b:1"]}, state="up"), a_snapshot({"p": ["a:1"]}), SLOTS)
    leaving = running.pools[0].servers[1]
    assert (leaving.name, leaving.removed, leaving.may_be_picked) == ("b:1", True, False)
    back = merge(running, a_snapshot({"p": ["a:1", "b:1"]}), SLOTS).pools[0].servers[1]
    assert (back.slot, back.state, back.removed) == (leaving.slot, "unknown", False)


def test_a_pool_goes_with_its_last_session() -> None:
    running = merge(a_snapshot({"p": ["a:1"], "q": ["b:1", "c:1"]}), a_snapshot({"p": ["a:1"]}), SLOTS)
    sessions = {2: 1, 3: 0}
    left = sweep(running, lambda slot: sessions.get(slot, 0))
    assert [server.name for server in members(left).values()] == ["a:1", "b:1"]
    assert left.version == running.version + 1
    assert sweep(left, lambda slot: sessions.get(slot, 0)) is left
    sessions[2] = 0
    gone = sweep(left, lambda slot: sessions.get(slot, 0))
    assert [pool.name for pool in gone.pools] == ["p"]
    assert members(merge(gone, a_snapshot({"p": ["a:1", "d:1"]}), SLOTS))["p", "d:1"].slot == 2


def test_a_slot_that_is_held_is_for_nobody_and_none_is_asked_for_where_no_server_is_new() -> None:
    asked: list[int] = []

    def is_held(slot: int) -> bool:
        asked.append(slot)
        return slot == 2

    running = a_snapshot({"p": ["a:1"]})
    merge(running, a_snapshot({"p": ["a:1"]}), SLOTS, is_held)
    assert found(running, "p", "a:1", (), SLOTS, 0, is_held) is running
    assert not asked
    assert members(merge(running, a_snapshot({"p": ["a:1", "b:1"]}), SLOTS, is_held))["p", "b:1"].slot == 3
    assert asked == [2, 3]
    with pytest.raises(TooManyServers):
        merge(running, a_snapshot({"p": ["a:1", "b:1"]}), 2, is_held)


def test_too_many() -> None:
    with pytest.raises(TooManyServers):
        merge(a_snapshot({"p": ["a:1", "b:1"]}), a_snapshot({"p": ["c:1", "d:1"]}), 3)


def a_pool_of_names(fixed: str, *hosts: str) -> Snapshot:
    """One with a name that is looked up, before and after servers that are none, and these are its hosts."""
    servers = [("first:1", "10.9.0.1"), *(("name:1", host) for host in hosts), (fixed, "10.9.0.2")]
    template = Server(slot=0, name="name:1", address=("", 1), weight=5)
    pool = Pool(
        name="p",
        balance="least_conn",
        hash_key="",
        servers=tuple(Server(slot=i, name=name, address=(host, 1)) for i, (name, host) in enumerate(servers, 1)),
        names=(template,),
        order=("first:1", "name:1", fixed),
    )
    return Snapshot(version=1, listeners=(), pools=(pool,))


def at(*hosts: str) -> list[Target]:
    return [Target(hosts)]


def hosts_of(snapshot: Snapshot) -> list[str]:
    return [server.address[0] for pool in snapshot.pools for server in pool.servers if not server.removed]


host_lists = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"]), min_size=1, max_size=5)


@given(host_lists, st.lists(host_lists, max_size=4))
def test_a_name_has_the_addresses_that_were_found_last(first: list[str], later: list[list[str]]) -> None:
    running = a_pool_of_names("last:1")
    for hosts in (first, *later):
        before = running
        running = found(before, "p", "name:1", at(*hosts), 20, now=3.0)
        assert hosts_of(running) == ["10.9.0.1", *sorted(set(hosts)), "10.9.0.2"]
        assert running.version == before.version + (hosts_of(before) != hosts_of(running))
        assert (running is before) == (hosts_of(before) == hosts_of(running))
        slots = [server.slot for server in running.pools[0].servers]
        assert len(set(slots)) == len(slots)
        known = {server.address: server.slot for server in before.pools[0].servers}
        assert all(known.get(server.address, server.slot) == server.slot for server in running.pools[0].servers)
        assert {server.weight for server in running.pools[0].servers if server.name == "name:1"} == {5}
        added, removed, altered = changes(before, running, "p")
        assert altered == []
        assert len(added) - len(removed) == len(hosts_of(running)) - len(hosts_of(before))


def test_one_that_is_found_begins_then() -> None:
    server = found(a_pool_of_names("last:1"), "p", "name:1", at("10.0.0.1"), 20, now=3.0).pools[0].servers[1]
    assert (server.slot, server.name, server.address, server.since) == (3, "name:1", ("10.0.0.1", 1), 3.0)


def test_names_of_no_pool_and_pools_without_the_name_change_nothing() -> None:
    running = a_pool_of_names("last:1", "10.0.0.1")
    assert found(running, "q", "name:1", at("10.0.0.2"), 20, now=0) is running
    assert found(running, "p", "first:1", at("10.0.0.2"), 20, now=0) is running


def test_more_addresses_than_slots() -> None:
    running = a_pool_of_names("last:1", "10.0.0.1")
    two = at("10.0.0.2", "10.0.0.3")
    assert hosts_of(found(running, "p", "name:1", two, 5, now=0))[1:3] == ["10.0.0.2", "10.0.0.3"]
    with pytest.raises(TooManyServers):
        found(running, "p", "name:1", two, 4, now=0)


def test_a_reload_keeps_the_addresses_of_names() -> None:
    running = a_pool_of_names("last:1", "10.0.0.1", "10.0.0.2")
    merged = merge(running, a_pool_of_names("other:1"), 20)
    assert hosts_of(merged) == ["10.9.0.1", "10.0.0.1", "10.0.0.2", "10.9.0.2"]
    assert [server.slot for server in merged.pools[0].servers[1:3]] == [2, 3]
    assert {server.weight for server in merged.pools[0].servers[1:3]} == {5}
    assert hosts_of(merge(merged, a_pool_of_names("last:1"), 20)) == hosts_of(merged)


def test_a_pool_of_names_without_addresses_is_not_swept_but_one_that_is_gone_is() -> None:
    template = Server(slot=0, name="name:1", address=("", 1))
    empty = Pool(name="p", balance="least_conn", hash_key="", servers=(), names=(template,), order=("name:1",))
    with_p = Snapshot(version=1, listeners=(), pools=(empty,))
    running = merge(a_snapshot({"q": ["a:1"]}), with_p, SLOTS)
    assert [pool.name for pool in sweep(running, lambda slot: 0).pools] == ["p"]
    one = found(with_p, "p", "name:1", at("10.0.0.1"), SLOTS, now=0)
    gone = merge(one, a_snapshot({"q": ["a:1"]}), SLOTS)
    assert found(gone, "p", "name:1", at("10.0.0.2"), SLOTS, now=0) is gone
    assert [pool.name for pool in sweep(gone, lambda slot: 0).pools] == ["q"]


def two_pools(*known: tuple[str, str], listen: Sequence[tuple[str, str]] = ()) -> Snapshot:
    """Pools a and b have each a name of their own; ``known`` are hosts by pool, ``listen`` pools by address."""
    pools = [
        Pool(
            name=pool,
            balance="least_conn",
            hash_key="",
            servers=tuple(
                Server(slot=slot, name=f"{pool}:1", address=(host, 1))
                for slot, (owner, host) in enumerate(known, 1)
                if owner == pool
            ),
            names=(Server(slot=0, name=f"{pool}:1", address=("", 1)),),
            order=(f"{pool}:1",),
        )
        for pool in ("a", "b")
    ]
    listeners = tuple(Listener(address=address, pool=pool, connect_timeout=1.0) for address, pool in listen)
    return Snapshot(version=1, listeners=listeners, pools=tuple(pools))


def test_what_leads_back_is_no_server() -> None:
    running = two_pools(listen=[("127.0.0.1:1", "a")])
    both = at("10.0.0.1", "127.0.0.1")
    told = "127.0.0.1:1 is listened on here, and leads back to this pool"
    assert left_out(running, "a", "a:1", both) == (told,)
    running = found(running, "a", "a:1", both, 20, now=0)
    assert hosts_of(running) == ["10.0.0.1"]
    assert found(running, "a", "a:1", both, 20, now=0) is running
    nothing = found(running, "a", "a:1", at("127.0.0.1"), 20, now=0)
    assert hosts_of(nothing) == []
    assert hosts_of(found(nothing, "a", "a:1", at("127.0.0.2"), 20, now=0)) == ["127.0.0.2"]
    assert left_out(running, "a", "a:1", at("127.0.0.2")) == ()
    assert left_out(running, "a", "other:1", both) == left_out(running, "c", "a:1", both) == ()


def test_a_listener_of_another_pool_is_a_server_until_that_leads_back() -> None:
    running = two_pools(listen=[("127.0.0.1:1", "a"), ("127.0.0.2:1", "b")])
    running = found(running, "a", "a:1", at("127.0.0.2"), 20, now=0)
    assert hosts_of(running) == ["127.0.0.2"]
    assert left_out(running, "b", "b:1", at("127.0.0.1")) == (
        "127.0.0.1:1 is listened on here, and leads back to this pool, through 127.0.0.2:1",
    )
    assert found(running, "b", "b:1", at("127.0.0.1"), 20, now=0) is running
    running = found(running, "a", "a:1", at("10.0.0.1"), 20, now=0)
    running = sweep(running, lambda slot: 0)
    assert hosts_of(found(running, "b", "b:1", at("127.0.0.1"), 20, now=0)) == ["10.0.0.1", "127.0.0.1"]


def test_addresses_of_this_machine_count_where_everything_is_listened_on() -> None:
    running = two_pools(listen=[("0.0.0.0:1", "a"), ("10.0.0.2:1", "b")])
    asked: list[str] = []

    def is_local(host: str) -> bool:
        asked.append(host)
        return host == "10.0.0.1"

    after = found(running, "a", "a:1", at("10.0.0.1", "10.0.0.9"), 20, 0, is_local=is_local)
    assert hosts_of(after) == ["10.0.0.9"]
    assert sorted(asked) == ["10.0.0.1", "10.0.0.9"]


def test_a_reload_by_which_known_addresses_lead_back() -> None:
    running = two_pools(("a", "10.0.0.1"), ("a", "127.0.0.1"), ("b", "127.0.0.2"))
    merged = merge(running, two_pools(listen=[("127.0.0.2:1", "a"), ("127.0.0.1:1", "b")]), 20)
    assert hosts_of(merged) == ["10.0.0.1", "127.0.0.1"]
    merged = merge(running, two_pools(listen=[("0.0.0.0:1", "a")]), 20, is_local=lambda host: host == "10.0.0.1")
    assert hosts_of(merged) == ["127.0.0.2"]


def test_a_member_that_leads_back_of_several_srv_records() -> None:
    template = Server(slot=0, name="_x._tcp.srv", found_by="_x._tcp.srv", address=("", 0))
    pool = Pool(name="a", balance="least_conn", hash_key="", servers=(), names=(template,), order=(template.name,))
    listener = Listener(address="127.0.0.1:1", pool="a", connect_timeout=1.0)
    running = Snapshot(version=1, listeners=(listener,), pools=(pool,))
    targets = [Target(("127.0.0.1",), "one", 1), Target(("127.0.0.1",), "two", 2)]
    (server,) = found(running, "a", template.name, targets, 20, now=0).pools[0].servers
    assert (server.name, server.address) == ("two:2", ("127.0.0.1", 2))
