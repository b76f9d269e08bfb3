from __future__ import annotations

import typing
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kubelb.config.model import pools as configured
from kubelb.config.model.pools import OnDown
from kubelb.config.values import Duration
from kubelb.control.decide import Event, Level, decide, news
from kubelb.snapshot import Condition, Finding, Listener, Pool, Server, Snapshot, State

NOW = 1000.0
DRAINED = "the operator wants it empty"
REMOVED = "it is no member any more"
LISTENER = Listener(address="127.0.0.1:6443", pool="api", connect_timeout=2.0)


def settings(on_down: OnDown = "reset", drain_timeout: float = 60.0) -> Mapping[str, configured.Pool]:
    pool = configured.Pool(
        servers=(), health=configured.Health(on_down=on_down), drain_timeout=Duration(drain_timeout)
    )
    return {"api": pool}


def a_snapshot(*servers: Server) -> Snapshot:
    pool = Pool(name="api", balance="least_conn", hash_key="$remote_addr", servers=servers)
    return Snapshot(version=7, listeners=(LISTENER,), pools=(pool,))


def a_server(slot: int, **fields: object) -> Server:
    server = Server(slot=slot, name=f"10.0.0.{slot}:6443", address=(f"10.0.0.{slot}", 6443))
    return msgspec.structs.replace(server, **fields)


_FINDINGS: dict[State, Finding] = {"up": "alive", "suspect": "silent", "draining": "not ready", "down": "gone"}


def a_condition(state: State, since: float = 900.0, **fields: object) -> Condition:
    """One that is up has been seen so just now. What speaks against another began when it got into its state, and
    goes on: the connect that it leaves unanswered was begun just now."""
    good = state == "up"
    condition = Condition(
        state=state,
        since=since,
        reason="because",
        finding=_FINDINGS.get(state, "unknown"),
        found_at=since,
        proven=True,
        harm_from=None if good else since,
        good_at=NOW if good else since,
        door_at=NOW,
    )
    return replace(condition, **fields)


def decided(
    *states: State | None, on_down: OnDown = "reset", drained: tuple[int, ...] = (), drain_timeout: float = 60.0
) -> tuple[Server, ...]:
    """The servers of a pool whose conditions are these; None: nobody looks at it."""
    servers = [a_server(i, drained=i in drained) for i in range(1, len(states) + 1)]
    conditions = {i: a_condition(state) for i, state in enumerate(states, 1) if state is not None}
    after = decide(a_snapshot(*servers), conditions, settings(on_down, drain_timeout), NOW)
    return after.pools[0].servers


def cuts(*states: State | None, **options: object) -> list[float | None]:
    return [server.cut_at for server in decided(*states, **options)]  # type: ignore[arg-type]


@given(st.none() | st.floats(0, 2000))
def test_nobody_knows_the_settings_of_a_pool_that_is_leaving(cut_at: float | None) -> None:
    """Those who knew them have died, or were the supervisor before: what they have decided stays."""
    leaving = a_server(1, removed=True, state="draining", since=900.0, reason=REMOVED, cut_at=cut_at)
    (server,) = decide(a_snapshot(leaving), {}, {}, NOW).pools[0].servers
    assert server.cut_at == (900.0 + 60 if cut_at is None else cut_at)


def test_a_server_is_as_its_condition_says() -> None:
    (server,) = decided("suspect")
    assert (server.state, server.since, server.reason, server.proven) == ("suspect", 900.0, "because", True)


def test_sessions_of_a_server_that_is_down() -> None:
    assert cuts("up", "down", "up") == [None, 900.0, None]
    assert cuts("up", "down", on_down="drain", drain_timeout=30.0) == [None, 930.0]
    assert cuts("up", "down", on_down="keep") == [None, None]


def test_sessions_of_a_server_that_drains_have_their_time() -> None:
    for on_down in ("reset", "drain", "keep"):
        assert cuts("up", "draining", on_down=on_down, drain_timeout=5.0) == [None, 905.0]
    assert cuts("up", "up", drained=(2,), drain_timeout=5.0) == [None, NOW + 5]


def test_nobody_is_cut_who_has_nowhere_to_go() -> None:
    assert cuts("down", "down", "down") == [None, None, None]
    assert cuts("down", "suspect", "draining") == [None, None, None]
    assert cuts("up", drained=(1,)) == [None]
    assert cuts("down", None) == [None, None], "nobody has seen the other"


def test_the_operators_word_goes_before_the_probes() -> None:
    first, second = decided("up", "down", drained=(1, 2))
    assert (first.state, first.since, first.reason, first.ramp_from) == ("draining", NOW, DRAINED, None)
    assert second.state == "draining"
    snapshot = a_snapshot(first, second)
    later = decide(snapshot, {1: a_condition("up"), 2: a_condition("down")}, settings(), NOW + 50)
    assert later == snapshot, "it is draining since it was told to"


def test_one_that_is_no_member_any_more_drains_whatever_its_probes_say() -> None:
    before = a_snapshot(a_server(1, removed=True, drained=True), a_server(2, removed=True, state="disabled"))
    for server in decide(before, {1: a_condition("up")}, settings(), NOW).pools[0].servers:
        assert (server.state, server.since, server.reason) == ("draining", NOW, REMOVED)


def test_one_that_ramps_stops_when_it_is_drained() -> None:
    before = a_snapshot(a_server(1, drained=True, ramp_from=950.0))
    assert (
        decide(before, {1: a_condition("up", back_at=950.0)}, settings(), NOW).pools[0].servers[0].ramp_from is None
    )


def test_undrained_a_server_is_what_its_probes_say() -> None:
    before = a_snapshot(a_server(1, state="draining", since=5.0, reason=DRAINED), a_server(2))
    probed = decide(before, {1: a_condition("up")}, settings(), NOW).pools[0].servers[0]
    assert (probed.state, probed.since) == ("up", 900.0)
    alone = decide(before, {}, settings(), NOW).pools[0].servers[0]
    assert (alone.state, alone.since, alone.reason) == ("unknown", NOW, "")


def test_a_server_that_came_back_ramps() -> None:
    condition = a_condition("up", back_at=950.0)
    after = decide(a_snapshot(a_server(1), a_server(2)), {1: condition}, settings(), NOW)
    assert [server.ramp_from for server in after.pools[0].servers] == [950.0, None]
    down = decide(after, {1: a_condition("down", back_at=950.0)}, settings(), NOW)
    assert down.pools[0].servers[0].ramp_from is None


times = st.floats(0, NOW)
conditions = st.builds(
    Condition,
    state=st.sampled_from(["unknown", "up", "suspect", "down", "draining"]),
    since=times,
    reason=st.sampled_from(["one", "other"]),
    finding=st.sampled_from(typing.get_args(Finding)),
    found_at=times,
    proven=st.booleans(),
    back_at=st.none() | times,
    harm_from=st.none() | times,
    good_at=times,
    good_since=times,
    heard_at=times,
    acked_at=times,
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Snapshot, dict[int, Condition]]:
    slots = range(1, draw(st.integers(1, 5)) + 1)
    servers = [
        a_server(
            slot,
            drained=draw(st.booleans()),
            removed=draw(st.sampled_from([False, False, True])),
            state=draw(st.sampled_from(["unknown", "disabled"])),
        )
        for slot in slots
    ]
    known = {slot: draw(conditions) for slot in slots if draw(st.booleans())}
    return a_snapshot(*servers), known


@given(situations(), st.sampled_from(["reset", "drain", "keep"]))
def test_no_server_is_lost_and_a_decision_stands(
    situation: tuple[Snapshot, dict[int, Condition]], on_down: OnDown
) -> None:
    snapshot, known = situation
    after = decide(snapshot, known, settings(on_down), NOW)
    assert [server.slot for server in after.pools[0].servers] == [server.slot for server in snapshot.pools[0].servers]
    assert decide(after, known, settings(on_down), NOW + 1) == after
    for before, server in zip(snapshot.pools[0].servers, after.pools[0].servers, strict=True):
        assert (server.state == "disabled") == (before.state == "disabled" and not before.removed)
        assert not server.removed or (server.state, server.cut_at) == ("draining", server.since + 60)
        good = {other.slot for other in after.pools[0].servers if other.state in ("unknown", "up")}
        assert server.cut_at is None or server.removed or good - {server.slot}
        assert server.cut_at is None or server.drained or server.removed or server.known is not None
        assert server.cut_at is None or server.state in ("down", "draining")


@given(situations())
def test_the_version_grows_when_workers_have_to_know(situation: tuple[Snapshot, dict[int, Condition]]) -> None:
    snapshot, known = situation
    after = decide(snapshot, known, settings(), NOW)

    def working(one: Snapshot) -> list[object]:
        return [
            (s.state, s.drained, s.removed, s.cut_at, s.cut_spares, s.ramp_from, s.late) for s in one.pools[0].servers
        ]

    assert after.version == snapshot.version + (working(after) != working(snapshot))
    talk = {slot: replace(condition, reason="said differently") for slot, condition in known.items()}
    assert decide(after, talk, settings(), NOW).version == after.version


def test_news_is_one_line_a_change() -> None:
    before = a_snapshot(*(a_server(slot, state="up") for slot in (1, 2, 3)), a_server(4))
    known = {1: a_condition("down"), 2: a_condition("up"), 3: a_condition("draining"), 4: a_condition("suspect")}
    after = decide(before, known, settings(), NOW)
    assert [(event.level, event.name, event.fields["server"]) for event in news(before, after)] == [
        ("warning", "server_down", "10.0.0.1:6443"),
        ("warning", "server_draining", "10.0.0.3:6443"),
        ("warning", "server_suspect", "10.0.0.4:6443"),
    ]
    down, draining, suspect = (event.fields for event in news(before, after))
    assert (down["reason"], down["sessions"]) == ("because", "are reset")
    assert draining["sessions"] == "are reset after 60 s"
    assert suspect["effect"]
    assert list(news(after, after)) == []


@pytest.mark.parametrize(
    ("before", "after", "level", "effect"),
    [
        ("unknown", "up", "info", {}),
        ("unknown", "suspect", "warning", {"effect": "it is picked last until a probe passes"}),
        ("unknown", "down", "warning", {"sessions": "stay"}),
        ("up", "unknown", "info", {}),
        ("up", "suspect", "debug", {}),
        ("up", "disabled", "info", {}),
        ("suspect", "up", "debug", {}),
        ("suspect", "down", "warning", {"sessions": "stay"}),
        ("suspect", "draining", "warning", {}),
        ("draining", "up", "info", {}),
        ("down", "up", "info", {}),
        ("down", "suspect", "debug", {}),
    ],
)
def test_how_loud_the_news_are(before: State, after: State, level: Level, effect: dict[str, str]) -> None:
    """Doubt that comes to nothing is none."""
    old, new = a_snapshot(a_server(1, state=before)), a_snapshot(a_server(1, state=after, reason="because"))
    fields = {"pool": "api", "server": "10.0.0.1:6443", "reason": "because", **effect}
    assert list(news(old, new)) == [Event(level, f"server_{after}", fields)]


@pytest.mark.parametrize(("cut_at", "told"), [(900.0, "are reset"), (902.5, "are reset after 2.5 s")])
def test_the_news_tell_what_becomes_of_sessions(cut_at: float, told: str) -> None:
    down = a_server(1, state="down", since=900.0, cut_at=cut_at)
    (event,) = news(a_snapshot(a_server(1, state="up")), a_snapshot(down))
    assert event.fields["sessions"] == told


def test_a_server_with_a_name_is_told_with_its_address() -> None:
    named = [a_server(1, name="api.example:6443", state=state) for state in ("up", "down")]
    (event,) = news(*map(a_snapshot, named))
    assert (event.fields["server"], event.fields["address"]) == ("api.example:6443", "10.0.0.1")


def test_a_new_server_is_no_news() -> None:
    assert list(news(a_snapshot(a_server(1)), a_snapshot(a_server(1), a_server(2, state="down")))) == []


def test_the_version_grows_once_with_any_of_the_pools() -> None:
    first = a_snapshot(a_server(1)).pools[0]
    second = msgspec.structs.replace(first, name="other", servers=(a_server(2),))
    snapshot = msgspec.structs.replace(a_snapshot(), pools=(first, second))
    rules = {**settings(), "other": settings()["api"]}
    assert [
        decide(snapshot, {slot: a_condition("up") for slot in slots}, rules, NOW).version
        for slots in ((), (1,), (2,), (1, 2))
    ] == [7, 8, 8, 8]


# What becomes of sessions, by what is known.


def cut_of(known: Condition, *others: Condition, **health: object) -> Server:
    """How the first server of a pool is decided upon, the others being as they are."""
    servers = [a_server(slot) for slot in range(1, len(others) + 2)]
    pool = configured.Pool(servers=(), health=configured.Health(**health))  # type: ignore[arg-type]
    snapshot = decide(a_snapshot(*servers), dict(enumerate((known, *others), 1)), {"api": pool}, NOW)
    return snapshot.pools[0].servers[0]


GONE = a_condition("down", 990.0, harm_from=989.0)
SILENT = a_condition("down", 990.0, harm_from=985.0, finding="silent")
UP = a_condition("up")


def test_a_server_that_is_gone_is_cut_at_once_but_for_who_hears_of_it() -> None:
    cut = cut_of(GONE, UP)
    assert (cut.cut_at, cut.cut_spares, cut.cut_against) == (990.0, "acknowledged", 990.0)


@pytest.mark.parametrize("finding", ["closed", "broken", "forbidden", "late", "not told"])
def test_what_is_no_death_cuts_nobody(finding: Finding) -> None:
    for state in ("down", "suspect", "up"):
        assert cut_of(a_condition(state, 990.0, finding=finding, harm_from=1.0), UP, UP).cut_at is None


def test_bytes_after_the_evidence_are_against_it() -> None:
    assert cut_of(replace(GONE, acked_at=990.1), UP).cut_at is None
    assert cut_of(replace(GONE, heard_at=990.1), UP).cut_at is None
    assert cut_of(replace(GONE, heard_at=988.0, acked_at=989.5), UP).cut_at == 990.0


def test_a_refuge_was_seen_after_the_harm() -> None:
    assert cut_of(GONE, a_condition("up", good_at=988.9)).cut_at is None
    assert cut_of(GONE, a_condition("up", good_at=989.0)).cut_at == 990.0
    assert cut_of(GONE, a_condition("unknown", good_at=0.0, heard_at=989.1, harm_from=None)).cut_at == 990.0
    assert cut_of(GONE, a_condition("draining"), a_condition("down"), a_condition("suspect")).cut_at is None


def test_a_server_is_gone_only_if_a_connect_was_begun_since_there_is_a_refuge() -> None:
    """An outage that all shared may have been too short to be seen of the others."""
    early = replace(GONE, door_at=NOW - 0.1)
    servers = cut_of(early, UP)
    assert (servers.cut_at, servers.refuge_from) == (None, NOW)
    pool = configured.Pool(servers=(), health=configured.Health())
    before = a_snapshot(servers, a_server(2))
    later = decide(before, {1: replace(early, door_at=NOW + 0.1), 2: UP}, {"api": pool}, NOW + 0.5)
    assert (later.pools[0].servers[0].cut_at, later.pools[0].servers[0].refuge_from) == (990.0, NOW)
    lost = decide(later, {1: early, 2: a_condition("suspect")}, {"api": pool}, NOW + 1)
    assert lost.pools[0].servers[0].refuge_from is None


def test_after_an_outage_that_all_shared_the_others_have_time_to_return() -> None:
    """The deadline counts from the first return, which was long after the harm."""
    back = a_condition("up", good_since=995.0)
    assert cut_of(GONE, back, interval=Duration(5)).cut_at == 995.0 + 15
    assert cut_of(GONE, back, interval=Duration(0.1)).cut_at == 995.0 + 2
    assert cut_of(GONE, back, UP, interval=Duration(5)).cut_at == 990.0, "one never was away"
    assert cut_of(a_condition("draining", 100.0), back).cut_at == 995.0 + 60
    assert cut_of(SILENT, back).cut_at == 995.0 + 5


def test_a_silent_server_is_cut_once_nothing_has_come_for_long() -> None:
    cut = cut_of(SILENT, UP, UP)
    assert (cut.cut_at, cut.cut_spares) == (985.0 + 5, "heard")
    assert 985.0 < cut.cut_against < 985.1
    heard = cut_of(replace(SILENT, heard_at=993.0), UP, UP, hang_timeout=Duration(7))
    assert heard.cut_at == 1000.0
    assert 993.0 < heard.cut_against < 993.1, "the byte that is known of spares nobody"
    assert cut_of(replace(SILENT, acked_at=999.0), UP, UP).cut_at == 990.0, "its kernel acknowledges all the time"


def test_a_silent_server_is_cut_only_while_most_of_the_pool_answers_in_time() -> None:
    late, back = a_condition("up", finding="late"), a_condition("up", good_since=996.0)
    assert cut_of(SILENT, UP, late).cut_at is None
    assert cut_of(SILENT, UP, back).cut_at == 996.0 + 5
    assert cut_of(SILENT, UP).cut_at == 990.0
    assert cut_of(SILENT, UP, UP, late, late).cut_at is None
    assert cut_of(SILENT, UP, UP, back, late).cut_at == 996.0 + 5


def test_the_operator_says_what_a_dead_server_means() -> None:
    for known, since in ((GONE, 990.0), (SILENT, 990.0)):
        assert cut_of(known, UP, UP, on_down="keep").cut_at is None
        assert cut_of(known, UP, UP, on_down="drain").cut_at == since + 60


def test_a_late_server_gets_less() -> None:
    assert cut_of(a_condition("up", finding="late"), UP).late
    assert not cut_of(a_condition("down", finding="late"), UP).late
    assert not cut_of(UP, UP).late


def test_a_slow_pool_is_said_once() -> None:
    def snapshot(*findings: Finding) -> Snapshot:
        return a_snapshot(*(a_server(i, known=Condition(finding=one)) for i, one in enumerate(findings, 1)))

    well, slow = snapshot("alive", "late", "alive"), snapshot("silent", "late", "alive")
    assert [event.name for event in news(well, slow)] == ["pool_slow"]
    assert list(news(slow, snapshot("late", "late", "late"))) == []
    assert list(news(well, snapshot("alive", "silent", "alive"))) == []
