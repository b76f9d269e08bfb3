"""Sessions from one relay thread to another: when the channel between them is full, or one of the two leaves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from kubelb.snapshot import SocketAddress
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER, FROM_WORKER, TO_WORKER
from kubelb.wire.messages import Ready, Stop
from tests.support.eventually import eventually
from tests.support.identity import keep, leave
from tests.support.lanes import RunningLane, a_lane, a_snapshot
from tests.support.proxy import EchoServers, echoes

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with EchoServers() as echo_servers:
        yield echo_servers.addresses


@contextmanager
def a_giver_and_a_taker(
    servers: list[SocketAddress], sessions: int
) -> Iterator[tuple[RunningLane, RunningLane, list[socket.socket]]]:
    """Two relay threads, of which the first has so many sessions, which are alive at the end."""
    snapshot = a_snapshot(servers)
    with a_lane(snapshot) as giver, a_lane(snapshot) as taker, ExitStack() as held:
        clients = [held.enter_context(keep(giver.address)[0]) for _ in range(sessions)]
        yield giver, taker, clients
        assert all(map(echoes, clients))
        for client in clients:
            leave(client)


def test_what_was_said_before_the_end_is_heard() -> None:
    """Else sessions that were taken would be taken back. The kernel tells first that not all was read."""
    ours, theirs = Channel.pair(FROM_WORKER, TO_WORKER)
    ours.send(Stop())
    theirs.send(Ready())
    theirs.close()
    assert ours.receive() == Ready()
    assert ours.receive() is None
    ours.close()


def test_a_channel_without_room(servers: list[SocketAddress]) -> None:
    with a_giver_and_a_taker(servers, 12) as (giver, taker, clients):
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        ours._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        giver.run(lambda: giver.lane.hand_over([ours]))
        taker.run(lambda: taker.lane.receive(theirs))
        eventually(lambda: taker.clients == len(clients), "it has all of them")
        eventually(giver.is_quiet, "and the other none")
        giver.run(ours.close)


@pytest.mark.parametrize("before", [False, True])
def test_one_that_leaves_takes_no_more(servers: list[SocketAddress], before: bool) -> None:
    """It would end with what it has taken. Whether the channel has come ``before`` it was told to leave or after."""
    with a_giver_and_a_taker(servers, 3) as (giver, taker, clients):
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        emptied: list[int] = []
        if before:
            taker.run(lambda: taker.lane.receive(theirs))
        taker.run(lambda: taker.lane.leave(lambda: emptied.append(1)))
        if not before:
            taker.run(lambda: taker.lane.receive(theirs))
        giver.run(lambda: giver.lane.hand_over([ours]))
        assert all(map(echoes, clients))
        assert giver.clients == len(clients)
        assert emptied == [1]
