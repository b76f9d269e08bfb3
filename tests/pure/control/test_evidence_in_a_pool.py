"""What becomes of the sessions of a pool's servers, for any evidence in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.model import pools as configured
from kubelb.control.decide import decide
from kubelb.health.machine import Evidence, Kind, Rules, Signs, after, is_crowd, noted
from kubelb.snapshot import Condition, Listener, Pool, Server, Snapshot

HEALTH = configured.Health()
HANG_TIMEOUT = 5.0
SETTINGS = configured.Pool(servers=(), health=HEALTH)
GRACE = 3 * HEALTH.interval
RULES = Rules(rise=1, fall=2)
LISTENER = Listener(address="127.0.0.1:6443", pool="api", connect_timeout=2.0)


class Piece(NamedTuple):
    slot: int
    evidence: Evidence | Signs


class World:
    """The servers of a pool as control knows them."""

    def __init__(self, size: int) -> None:
        servers = tuple(
            Server(slot=slot, name=f"s{slot}:1", address=("10.0.0.1", slot)) for slot in range(1, size + 1)
        )
        pool = Pool(name="api", balance="least_conn", hash_key="", servers=servers)
        self.snapshot = Snapshot(version=1, listeners=(LISTENER,), pools=(pool,))
        self.known: dict[int, Condition] = {server.slot: Condition() for server in servers}

    def tell(self, piece: Piece, now: float) -> None:
        condition = self.known[piece.slot]
        if isinstance(piece.evidence, Signs):
            self.known[piece.slot] = noted(condition, piece.evidence)
        else:
            others = [known for slot, known in self.known.items() if slot != piece.slot]
            self.known[piece.slot] = after(condition, piece.evidence, RULES._replace(crowd=is_crowd(others)))
        self.snapshot = decide(self.snapshot, self.known, {"api": SETTINGS}, now)

    @property
    def servers(self) -> Mapping[int, Server]:
        return {server.slot: server for server in self.snapshot.pools[0].servers}


def passed(at: float) -> Evidence:
    return Evidence(Kind.PASSED, at, "passed", at - 0.01)


def a_piece(slot: int, kind: Kind, at: float, took: float, times: int) -> Piece:
    return Piece(slot, Evidence(kind, at, kind.name, at - took, times))


def pieces(size: int, kinds: Iterable[Kind]) -> st.SearchStrategy[list[Piece]]:
    slots, moments = st.integers(1, size), st.floats(0, 60)
    told = st.builds(a_piece, slots, st.sampled_from(list(kinds)), moments, st.floats(0, 4), st.integers(0, 4))
    signs = st.builds(
        lambda slot, at, heard: Piece(slot, Signs(at if heard else 0, at)), slots, moments, st.booleans()
    )
    return st.lists(told | signs, max_size=40).map(lambda some: sorted(some, key=moment))


def moment(piece: Piece) -> float:
    return max(piece.evidence) if isinstance(piece.evidence, Signs) else piece.evidence.at


def play(size: int, some: list[Piece], check: Callable[[World], None]) -> None:
    world = World(size)
    for slot in world.known:
        world.tell(Piece(slot, passed(0.0)), 0.0)
    for piece in some:
        world.tell(piece, moment(piece))
        check(world)


def is_careful(world: World) -> None:
    for slot, server in world.servers.items():
        if server.cut_at is None:
            continue
        known = world.known[slot]
        assert known.harm_from is not None
        shown = [
            max(other.good_at, other.heard_at)
            for number, other in world.known.items()
            if number != slot and world.servers[number].state in ("up", "unknown")
        ]
        assert max(shown) >= known.harm_from, "somebody else was seen good after the harm"
        if known.finding == "gone":
            assert known.alive_at <= known.found_at <= server.cut_at
        elif known.finding == "silent":
            assert server.cut_at >= known.heard_at + HANG_TIMEOUT
        else:
            assert server.state == "draining"


@pytest.mark.parametrize("size", [2, 3, 5])
@given(data=st.data())
def test_a_cut_is_careful(size: int, data: st.DataObject) -> None:
    """No server is cut to whose sessions anything came after the evidence, or whose clients have nowhere to go."""
    play(size, data.draw(pieces(size, Kind)), is_careful)


def nobody_is_cut(world: World) -> None:
    assert all(server.cut_at is None for server in world.servers.values())


HARMLESS = [
    Kind.PASSED, Kind.NOT_TOLD, Kind.FORBIDDEN, Kind.ACCEPTED, Kind.REFUSED, Kind.UNANSWERED, Kind.BROKEN,
    Kind.UNHEARD, Kind.DOUBT,
]  # fmt: skip


@given(pieces(3, HARMLESS))
def test_a_refusal_alone_cuts_nobody_nor_does_a_closed_door(some: list[Piece]) -> None:
    play(3, some, nobody_is_cut)


def most_are_up(world: World) -> None:
    down = sum(server.state == "down" for server in world.servers.values())
    assert down * 2 <= len(world.known)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@given(data=st.data())
def test_most_of_a_pool_never_goes_down_by_silence(size: int, data: st.DataObject) -> None:
    kinds = [Kind.PASSED, Kind.SILENT, Kind.UNHEARD, Kind.DOUBT, Kind.UNACKNOWLEDGED, Kind.ACCEPTED]
    play(size, data.draw(pieces(size, kinds)), most_are_up)


class Outage(NamedTuple):
    """All servers are away from 10 on; the first is back at 30."""

    size: int
    some: list[Piece]
    returns: dict[int, float]


@st.composite
def outages(draw: st.DrawFn) -> Outage:
    size = draw(st.sampled_from([2, 3, 5]))
    against = [Kind.REFUSED, Kind.UNANSWERED, Kind.SILENT, Kind.BROKEN, Kind.UNREADY, Kind.UNACKNOWLEDGED, Kind.DOUBT]
    delays = {slot: draw(st.floats(0, min(GRACE, HANG_TIMEOUT) - 0.1)) for slot in range(1, size + 1)}
    returns = {slot: 30 + delay - min(delays.values()) for slot, delay in delays.items()}
    some = [Piece(slot, passed(at)) for slot, at in returns.items()]
    for slot, returned in returns.items():
        # Each has been seen to be away, by the time the first is back.
        at = draw(st.floats(10, 29))
        some.append(a_piece(slot, draw(st.sampled_from(against[:-1])), at, 0.0, 3))
        for _ in range(draw(st.integers(0, 8))):
            at = draw(st.floats(10, returned, exclude_max=True))
            took = draw(st.floats(0, at - 10))
            some.append(a_piece(slot, draw(st.sampled_from(against)), at, took, draw(st.integers(0, 5))))
    return Outage(size, sorted(some, key=moment), returns)


@given(outages())
def test_an_outage_that_all_shared_cuts_nobody_when_it_ends(outage: Outage) -> None:
    """Whoever returns first, as long as the others do so a few intervals later."""

    def nobody_is_struck(world: World) -> None:
        for slot, server in world.servers.items():
            assert server.cut_at is None or server.cut_at > outage.returns[slot]

    play(outage.size, outage.some, nobody_is_struck)
    play(outage.size, outage.some, is_careful)


def test_a_server_that_vanishes_is_cut_within_a_second() -> None:
    """Found by a session's bytes and a connect; the others answer theirs."""
    world = World(3)
    for slot in world.known:
        world.tell(Piece(slot, passed(0.0)), 0.0)
    world.tell(Piece(1, Evidence(Kind.UNACKNOWLEDGED, 10.25, "", 10.0, 1)), 10.25)
    for slot in (2, 3):
        world.tell(Piece(slot, passed(10.27)), 10.27)
    world.tell(Piece(1, Evidence(Kind.UNACKNOWLEDGED, 10.45, "", 10.0, 2)), 10.45)
    assert world.servers[1].cut_at is None
    world.tell(Piece(1, Evidence(Kind.UNANSWERED, 10.66, "", 10.26)), 10.66)
    assert world.servers[1].cut_at is None, "it was tried before the others were seen good"
    world.tell(Piece(1, Evidence(Kind.UNANSWERED, 10.76, "", 10.36)), 10.76)
    assert world.servers[1].cut_at == 10.66
    world.tell(Piece(1, passed(11.0)), 11.0)
    assert world.servers[1].cut_at is None
