from __future__ import annotations

import itertools

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from kubelb.discovery.members import changes, found, merge
from kubelb.discovery.targets import MAX_WEIGHTS, Target, servers_of, targets_of
from kubelb.snapshot import Pool, Server, Snapshot

NAME = "_https._tcp.example.org"
TEMPLATE = Server(slot=0, name=NAME, found_by=NAME, address=("", 0), max_conns=9)

hosts = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), max_size=3, unique=True).map(tuple)
names = ["a.example.org", "b.example.org", "c.example.org"]
records = st.tuples(st.sampled_from(names), st.integers(1, 3), st.integers(0, 3), st.integers(0, 0xFFFF))
answers = st.builds(
    lambda records, of: [Target(of[record[0]], *record) for record in records],
    st.lists(records, max_size=8),
    st.fixed_dictionaries(dict.fromkeys(names, hosts)),
)
templates = st.builds(
    lambda weight, backup: Server(slot=0, name=NAME, found_by=NAME, address=("", 0), weight=weight, backup=backup),
    weight=st.sampled_from([1, 5]),
    backup=st.booleans(),
)


def ends(answer: list[Target]) -> dict[tuple[str, tuple[str, int]], list[Target]]:
    """The records that lead to each server."""
    found: dict[tuple[str, tuple[str, int]], list[Target]] = {}
    for target in answer:
        for host in target.hosts:
            found.setdefault((f"{target.name}:{target.port}", (host, target.port)), []).append(target)
    return found


@given(templates, answers)
def test_the_best_priority_is_used_first(template: Server, answer: list[Target]) -> None:
    servers = {(server.name, server.address): server for server in servers_of(template, answer, (), since=3.0)}
    leading = ends(answer)
    best = min((target.priority for target in answer if target.hosts), default=0)
    first = {key for key, by in leading.items() if any(target.priority == best for target in by)}
    assert servers.keys() == (first if template.backup else leading.keys())
    for key, server in servers.items():
        assert server.backup == (template.backup or key not in first)
        assert (server.since, server.found_by, server.max_conns) == (3.0, NAME, template.max_conns)


@given(answers)
def test_the_order_of_an_answer_changes_nothing_but_who_says_a_thing_twice(answer: list[Target]) -> None:
    assume(len({(target.name, target.port) for target in answer}) == len(answer))
    del answer[4:]
    expected = servers_of(TEMPLATE, answer, (), since=0)
    assert expected == sorted(expected, key=lambda server: (server.name, server.address))
    assert all(servers_of(TEMPLATE, order, (), since=0) == expected for order in itertools.permutations(answer))


@given(answers)
def test_weights_are_those_of_the_records_up_to_a_sum(answer: list[Target]) -> None:
    servers = servers_of(TEMPLATE, answer, (), since=0)
    assert sum(server.weight for server in servers) <= MAX_WEIGHTS + len(servers)
    said = {key: {max(target.weight, 1) for target in by} for key, by in ends(answer).items()}
    total = sum(max(target.weight, 1) * len(target.hosts) for target in answer)
    for server in servers:
        if total <= MAX_WEIGHTS:
            assert server.weight in said[server.name, server.address]
        assert server.weight >= 1


def test_small_weights_stay_and_large_ones_keep_their_proportion() -> None:
    def weights(*said: int) -> list[int]:
        answer = [Target((f"10.0.0.{i}",), f"{i}", 1, 0, weight) for i, weight in enumerate(said)]
        return [server.weight for server in servers_of(TEMPLATE, answer, (), since=0)]

    assert weights(0, 1, 33) == [1, 1, 33]
    assert weights(0xFFFF, 0xFFFF) == [2048, 2048]
    assert weights(30000, 10000, 1) == [3071, 1023, 1]


@given(answers)
def test_a_configured_weight_counts_for_all(answer: list[Target]) -> None:
    template = Server(slot=0, name=NAME, found_by=NAME, address=("", 0), weight=7)
    assert {server.weight for server in servers_of(template, answer, (), since=0)} <= {7}


def running_with(*others: Server) -> Snapshot:
    pool = Pool(
        name="p",
        balance="least_conn",
        hash_key="",
        servers=others,
        names=(TEMPLATE,),
        order=(*(server.name for server in others), NAME),
    )
    return Snapshot(version=1, listeners=(), pools=(pool,))


def members(snapshot: Snapshot) -> dict[tuple[str, tuple[str, int]], Server]:
    return {(one.name, one.address): one for pool in snapshot.pools for one in pool.servers if not one.removed}


@given(st.lists(answers.filter(lambda answer: any(target.hosts for target in answer)), min_size=1, max_size=4))
def test_who_stays_keeps_its_slot_and_nobody_leaves_for_want_of_an_address(answers: list[list[Target]]) -> None:
    other = Server(slot=1, name="a.example.org:1", address=("10.0.0.1", 1))
    running = running_with(other)
    for answer in answers:
        before = running
        running = found(before, "p", NAME, answer, 100, now=0)
        old, new = members(before), members(running)
        assert new[other.name, other.address].found_by == ""
        assert all(new[key].slot == old[key].slot for key in new.keys() & old.keys())
        slots = [server.slot for pool in running.pools for server in pool.servers]
        assert len(set(slots)) == len(slots)
        silent = {f"{target.name}:{target.port}" for target in answer if not target.hosts}
        listed = ends(answer).keys() | {key for key in old if key[0] in silent}
        assert new.keys() == listed | {(other.name, other.address)}
        assert found(running, "p", NAME, answer, 100, now=9) is running
        added, removed, altered = changes(before, running, "p")
        assert (running is before) or added or removed or altered or old.keys() != new.keys()


@given(answers.filter(lambda answer: any(target.hosts for target in answer)))
def test_a_reload_keeps_what_is_known(answer: list[Target]) -> None:
    running = found(running_with(), "p", NAME, answer, 100, now=0)
    assume(sum(server.weight for server in members(running).values()) <= MAX_WEIGHTS)
    assert members(merge(running, running_with(), 100)) == members(running)


def test_what_known_servers_tell_of_their_records() -> None:
    server = Server(slot=1, name="a.b:9", found_by=NAME, address=("fd00::1", 9), weight=4, backup=True)
    assert targets_of([server]) == [Target(("fd00::1",), "a.b", 9, 1, 4)]


def test_addresses_of_a_kind_that_nobody_could_say_stay() -> None:
    for template, name in ((TEMPLATE, "a.example.org"), (msgspec.structs.replace(TEMPLATE, found_by=""), "")):
        before = servers_of(template, [Target(("10.0.0.1", "fd00::1"), name, 1)], (), since=0)
        after = servers_of(template, [Target(("10.0.0.2",), name, 1, unsaid=(6,))], before, since=0)
        assert [server.address[0] for server in after] == ["10.0.0.2", "fd00::1"]
