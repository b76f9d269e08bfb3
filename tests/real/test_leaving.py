"""Whoever leaves, in whatever way, is counted nowhere any more: not with the clients, a server, or a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest

from kubelb.config.access import parse_access
from kubelb.config.model.listeners import Limit
from kubelb.snapshot import SocketAddress
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER
from tests.support.eventually import eventually
from tests.support.holes import Hole, a_hole
from tests.support.identity import keep, leave, reset
from tests.support.lanes import RunningLane, a_lane, a_snapshot, with_listener
from tests.support.proxy import EchoServers, echoes

pytestmark = pytest.mark.usefixtures("no_leaks")

LIMITS = (Limit(key="$remote_addr", connections=99), Limit(key="$server_port", connections=99))


@pytest.fixture(scope="module")
def echo() -> Iterator[SocketAddress]:
    with EchoServers() as servers:
        yield servers.addresses[0]


@pytest.fixture
def hole() -> Iterator[Hole]:
    with a_hole() as hole:
        yield hole


@contextmanager
def counting(*servers: SocketAddress, **settings: Any) -> Iterator[RunningLane]:
    """A lane whose clients are counted by two limits; when it ends nobody may be counted any more."""
    with a_lane(with_listener(a_snapshot(servers), limits=LIMITS, **settings)) as lane:
        yield lane


def assert_left(lane: RunningLane) -> None:
    eventually(lambda: lane.is_quiet() and not lane.limited, "it is counted nowhere any more")


@pytest.mark.parametrize("way", [leave, reset])
def test_a_session(echo: SocketAddress, way: Any) -> None:
    with counting(echo) as lane:
        client, _ = keep(lane.address)
        assert (lane.clients, lane.count(Count.ACTIVE), lane.limited) == (1, [1], 2)
        way(client)
        assert_left(lane)


def test_one_that_does_not_wait_for_a_server(hole: Hole) -> None:
    with counting(hole.address, hedge_delay=0.02) as lane:
        client = lane.connect()
        eventually(lambda: (lane.clients, lane.count(Count.ACTIVE), lane.limited) == (1, [1], 2), "it is dialled for")
        reset(client)
        assert_left(lane)


def test_one_for_which_no_server_is_left(refuser: SocketAddress) -> None:
    with counting(refuser) as lane:
        lane.assert_refuses()
        assert_left(lane)


@pytest.mark.parametrize("servers", [1, 2])
def test_one_that_cannot_come_from_the_wanted_address(hole: Hole, servers: int) -> None:
    """Of two servers the first is being waited for, and the other is a unix socket, to which no address leads."""
    unix, elsewhere = ("unix:/nowhere", 0), "192.0.2.1"
    addresses, bind = ([hole.address, unix], "127.0.0.1") if servers == 2 else ([hole.address], elsewhere)
    with counting(*addresses, bind=bind, hedge_delay=0.02) as lane:
        lane.assert_refuses()
        assert_left(lane)
        assert lane.turned_away == 1


def test_one_that_gets_a_text(echo: SocketAddress) -> None:
    with counting(pool=None, answer="a long story " * 2_000_000) as lane:
        client = lane.connect()
        eventually(lambda: (lane.clients, lane.limited) == (1, 2), "it is told")
        reset(client)
        assert_left(lane)


def test_one_that_may_not_come_in(echo: SocketAddress) -> None:
    with counting(echo, access=(parse_access("deny all"),)) as lane:
        with lane.connect() as client:
            assert client.recv(1) == b""
        assert_left(lane)
        assert lane.total(Count.DENIED) == 1


def test_one_of_which_there_are_too_many(echo: SocketAddress) -> None:
    with a_lane(
        with_listener(a_snapshot([echo]), limits=(LIMITS[0], Limit(key="$server_port", connections=1)))
    ) as lane:
        first, _ = keep(lane.address)
        with lane.connect() as second:
            assert second.recv(1) == b""
        assert (lane.clients, lane.limited, lane.total(Count.LIMITED)) == (1, 2, 1)
        leave(first)
        assert_left(lane)


def test_one_for_which_there_is_no_room(echo: SocketAddress) -> None:
    with a_lane(msgspec.structs.replace(a_snapshot([echo]), max_clients=1)) as lane:
        first, _ = keep(lane.address)
        with lane.connect() as second:
            assert second.recv(1) == b""
        eventually(lambda: lane.total(Count.CROWDED_OUT) == 1, "it is counted as such")
        assert lane.clients == 1
        leave(first)
        assert_left(lane)
        assert echoes_once(lane), "there is room again"


def echoes_once(lane: RunningLane) -> bool:
    client, _ = keep(lane.address)
    with client:
        return echoes(client)


def test_one_that_goes_on_elsewhere(echo: SocketAddress) -> None:
    with ExitStack() as stack:
        giver, taker = (stack.enter_context(counting(echo)) for _ in range(2))
        client, _ = keep(giver.address)
        stack.callback(leave, client)
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        taker.run(lambda: taker.lane.receive(theirs))
        giver.run(lambda: giver.lane.hand_over([ours]))
        assert_left(giver)
        assert (taker.clients, taker.count(Count.ACTIVE), taker.limited) == (1, [1], 2)
        giver.run(ours.close)
