"""What a relay thread does with a new picture of the pools, while it serves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from kubelb.snapshot import SocketAddress
from tests.support.identity import IdentityServers, ask, name_of
from tests.support.lanes import a_lane, a_snapshot, with_server

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def answering() -> Iterator[list[SocketAddress]]:
    with IdentityServers(["127.0.0.1", "127.0.0.2"]) as servers:
        yield servers.addresses


def test_turns_go_on_when_only_health_changes(answering: list[SocketAddress]) -> None:
    snapshot = a_snapshot(answering)
    with a_lane(snapshot) as lane:
        reached = []
        for number in range(6):
            reached.append(ask(lane.address))
            snapshot = with_server(snapshot, 0, state="up", since=float(number))
            lane.see(snapshot)
        assert reached == [name_of(address) for address in answering] * 3


def test_turns_begin_anew_when_a_weight_changes(answering: list[SocketAddress]) -> None:
    snapshot = a_snapshot(answering)
    with a_lane(snapshot) as lane:
        assert ask(lane.address) == name_of(answering[0])
        lane.see(with_server(snapshot, 0, weight=3))
        assert [ask(lane.address) for _ in range(4)].count(name_of(answering[0])) == 3


@pytest.mark.parametrize(
    "changes", [{"state": "disabled"}, {"state": "down"}, {"state": "suspect"}, {"drained": True}, {"tier": 1}]
)
def test_new_sessions_avoid_it_from_then_on(answering: list[SocketAddress], changes: dict[str, object]) -> None:
    snapshot = a_snapshot(answering)
    with a_lane(snapshot) as lane:
        assert {ask(lane.address) for _ in range(2)} == {name_of(address) for address in answering}
        lane.see(with_server(snapshot, 0, **changes))
        assert {ask(lane.address) for _ in range(6)} == {name_of(answering[1])}
        lane.see(snapshot)
        assert {ask(lane.address) for _ in range(2)} == {name_of(address) for address in answering}


def test_one_that_came_back_gets_few_at_first(answering: list[SocketAddress]) -> None:
    snapshot = a_snapshot(answering, slow_start=1e9)
    with a_lane(snapshot) as lane:
        lane.see(with_server(snapshot, 0, ramp_from=time.monotonic()))
        reached = Counter(ask(lane.address) for _ in range(200))
        assert 0 < reached[name_of(answering[0])] < 60
        lane.see(with_server(snapshot, 0, ramp_from=-2e9))
        reached = Counter(ask(lane.address) for _ in range(20))
        assert reached[name_of(answering[0])] == 10
