"""Sessions from one relay thread to another: when the channel between them is full, or one of the two leaves."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kubelb.relay.session import Flow, Session
from kubelb.snapshot import SocketAddress
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER, FROM_WORKER, TO_WORKER
from kubelb.wire.messages import FlowHanded, Handed, Ready, Stop, Taken
from kubelb.worker.handover import _UNDER_WAY
from tests.real.relay.rig import SMALL, digest, fill, read_to_the_end
from tests.support.descriptors import descriptors_left
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, name_of
from tests.support.lanes import DEADLINE, RunningLane, a_lane, a_snapshot
from tests.support.proxy import EchoServers, echoes

pytestmark = pytest.mark.usefixtures("no_leaks")

COUNTED = {"opened": Count.OPENED, "closed": Count.CLOSED, "up": Count.BYTES_UP, "down": Count.BYTES_DOWN}
MUCH = random.Random(1).randbytes(32 << 20)
"""More than all sockets on a session's way hold."""
_OFTEN = 30
"""Looks in a row at which nothing has moved, for that to be the end of it."""


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


def test_who_leaves_before_its_turn_is_not_handed_over(servers: list[SocketAddress]) -> None:
    """So many are under way that others have to wait, and go on meanwhile."""
    with a_lane(a_snapshot(servers)) as giver, a_lane(a_snapshot(servers)) as taker:
        clients = [keep(giver.address)[0] for _ in range(_UNDER_WAY + 4)]
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        giver.run(lambda: giver.lane.hand_over([ours]))
        (_, waiting) = under_way(giver)
        assert len(waiting) == 4
        names = [session.client.getpeername() for session in waiting]
        first, *others = [client for client in clients if client.getsockname() in names]
        assert all(map(echoes, others))
        leave(first)
        eventually(lambda: giver.clients == len(clients) - 1, "it has gone")
        taker.run(lambda: taker.lane.receive(theirs))
        eventually(giver.is_quiet, "it has none any more")
        clients.remove(first)
        assert taker.clients == len(clients)
        assert all(map(echoes, clients))
        for client in clients:
            leave(client)
        giver.run(ours.close)


@pytest.mark.parametrize("others", [0, 1])
def test_what_a_taker_has_not_taken_when_it_ends_goes_on(servers: list[SocketAddress], others: int) -> None:
    """Where it was, or with another that takes."""
    with a_lane(a_snapshot(servers)) as giver, a_lane(a_snapshot(servers)) as taker:
        clients = [keep(giver.address)[0] for _ in range(6)]
        pairs = [Channel.pair(FROM_TAKER, FROM_GIVER) for _ in range(1 + others)]
        giver.run(lambda: giver.lane.hand_over([ours for ours, _ in pairs]))
        sent, waiting = under_way(giver)
        assert (len(sent), len(waiting)) == (6, 0)
        (_, dead), *rest = pairs
        for _, theirs in rest:
            taker.run(lambda theirs=theirs: taker.lane.receive(theirs))  # type: ignore[misc]
        dead.close()
        assert all(map(echoes, clients))
        eventually(lambda: (giver.clients, taker.clients) == ((0, 6) if others else (6, 0)), "each is somewhere")
        clients.append(keep(giver.address)[0])
        eventually(lambda: giver.clients == (0 if others else 7), "so is one that comes afterwards")
        assert under_way(giver) == ([], []), "nobody waits for a taker that does not come"
        for client in clients:
            leave(client)
        for ours, _ in pairs:
            giver.run(ours.close)


def under_way(giver: RunningLane) -> tuple[list[Session], list[Session]]:
    """The sessions that are sent and not acknowledged, and those that wait for that."""
    found: list[list[Session]] = []

    def look() -> None:
        has = giver.lane._giver
        found.append([session for taker in has._takers for session in taker.sent.values()])
        found.append(list(has._waiting))

    giver.run(look)
    sent, waiting = found
    return sent, waiting


def sent_over(giver: RunningLane, taker: RunningLane) -> None:
    """All sessions, when it returns; whose channel it was is closed on both sides."""
    ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
    taker.run(lambda: taker.lane.receive(theirs))
    giver.run(lambda: giver.lane.hand_over([ours]))
    eventually(giver.is_quiet, "it has none any more")
    giver.run(lambda: giver.lane.thread.unwatch(ours.fileno()))
    ours.close()


@pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
def test_each_byte_and_each_session_is_counted_once(servers: list[SocketAddress], share: bool) -> None:
    """By one of the two threads: the sums are looked at when nothing can change them any more."""
    words, count = b"are you there?", 5
    with a_lane(a_snapshot(servers), share) as giver, a_lane(a_snapshot(servers), share) as taker:
        clients = [keep(giver.address)[0] for _ in range(count)]
        assert all(echoes(client, words) for client in clients)
        sent_over(giver, taker)
        assert all(echoes(client, words) for client in clients)
        for client in clients:
            leave(client)
        eventually(taker.is_quiet, "all have gone")
        sums = {name: giver.count(word)[0] + taker.count(word)[0] for name, word in COUNTED.items()}
        up = 2 * count * len(words)
        greetings = count * len(f"{name_of(servers[0])}\n")
        assert sums == {"opened": count, "closed": count, "up": up, "down": up + greetings}


def test_how_a_vanished_server_is_noticed_goes_along(servers: list[SocketAddress]) -> None:
    """The options of a connection are set once it has lasted for a while; this one is handed over before."""
    snapshot = a_snapshot(servers, keepalive=77.0, user_timeout=88.0)
    with a_lane(snapshot) as giver, a_lane(snapshot) as taker:
        client, _ = keep(giver.address)
        sent_over(giver, taker)
        (session,) = taker.lane.thread.sessions()
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)]
        assert [session.server.getsockopt(*option) for option in options] == [1, 88_000]
        leave(client)


class Blocked:
    """A session through a lane that holds back bytes in both directions, for neither end reads."""

    def __init__(self, stack: ExitStack, lane: RunningLane, listener: socket.socket) -> None:
        self._client = stack.enter_context(socket.socket())
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self._client.connect(lane.address)
        self._server = stack.enter_context(listener.accept()[0])
        (session,) = eventually(lane.lane.thread.sessions, "there is a session")
        for near in (session.client, session.server):
            # Else the kernel finds more room by and by.
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        self._up = _filled(self._client, session.up)
        self._down = _filled(self._server, session.down)

    def assert_whole(self) -> None:
        """All arrives that was sent, and so do both ends."""
        for sock in (self._client, self._server):
            sock.shutdown(socket.SHUT_WR)
        assert digest(read_to_the_end(self._server)) == digest(MUCH[: self._up])
        assert digest(read_to_the_end(self._client)) == digest(MUCH[: self._down])


def _filled(sock: socket.socket, flow: Flow) -> int:
    """Send until nothing moves any more and some is held back: so many bytes."""
    sent, still, before = 0, 0, (0, 0)

    def stands_still() -> bool:
        nonlocal sent, still, before
        sent += fill(sock, memoryview(MUCH)[sent:])
        held, now = flow.held, (sent, flow.moved)
        still, before = (still + 1 if now == before and held is not None else 0), now
        return still == _OFTEN

    eventually(stands_still, "it is held back")
    return sent


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Servers that read nothing by themselves."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(DEADLINE)
        yield listener


def test_bytes_that_are_held_back_go_along(deaf: socket.socket) -> None:
    """With the pipes that they are in: what is left open of the copies is found by the fixture that counts."""
    snapshot = a_snapshot([deaf.getsockname()])
    with a_lane(snapshot) as giver, a_lane(snapshot) as taker, ExitStack() as stack:
        blocked = Blocked(stack, giver, deaf)
        sent_over(giver, taker)
        blocked.assert_whole()


def test_bytes_that_are_held_back_stay_where_the_channel_is_full(deaf: socket.socket) -> None:
    """Nothing comes back from there, until its end does: the session goes on here, and nothing is left open."""
    with a_lane(a_snapshot([deaf.getsockname()])) as giver, ExitStack() as stack:
        blocked = Blocked(stack, giver, deaf)
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        ours._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        while theirs_has_room(ours):
            pass
        giver.run(lambda: giver.lane.hand_over([ours]))
        theirs.close()
        blocked.assert_whole()


def theirs_has_room(channel: Channel[Taken]) -> bool:
    return channel.offer(Taken(1, taken=False))


NEEDED = 6
"""Descriptors that come with a session that holds back bytes in both directions."""


@pytest.mark.parametrize("left", range(NEEDED + 1))
def test_a_taker_that_has_too_few_descriptors_left_takes_nothing(deaf: socket.socket, left: int) -> None:
    """Of those that came along none is left open, and the giver goes on with the session."""
    snapshot = a_snapshot([deaf.getsockname()])
    with a_lane(snapshot) as giver, a_lane(snapshot) as taker, ExitStack() as stack:
        blocked = Blocked(stack, giver, deaf)
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        giver.run(lambda: giver.lane.hand_over([ours]))
        assert giver.clients == 1
        with descriptors_left(left):
            taker.run(lambda: taker.lane.receive(theirs))
            eventually(lambda: is_read(giver, taker), "it is taken or not")
        assert (giver.clients, taker.clients) == ((0, 1) if left == NEEDED else (1, 0))
        blocked.assert_whole()
        giver.run(lambda: giver.lane.thread.unwatch(ours.fileno()))
        ours.close()


def is_read(giver: RunningLane, taker: RunningLane) -> bool:
    """Whether the answer has come to the giver."""
    giver.run(lambda: None)
    return all(not one.sent for one in giver.lane._giver._takers)


@pytest.mark.parametrize("left", range(5))
def test_a_giver_that_has_too_few_descriptors_left_keeps_what_it_has(deaf: socket.socket, left: int) -> None:
    """It needs one for each end of each pipe, for a moment."""
    snapshot = a_snapshot([deaf.getsockname()])
    with a_lane(snapshot) as giver, a_lane(snapshot) as taker, ExitStack() as stack:
        blocked = Blocked(stack, giver, deaf)
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        with descriptors_left(left):
            giver.run(lambda: giver.lane.hand_over([ours]))
        taker.run(lambda: taker.lane.receive(theirs))
        eventually(lambda: is_read(giver, taker), "it is taken or not")
        assert (giver.clients, taker.clients) == ((0, 1) if left == 4 else (1, 0))
        blocked.assert_whole()
        giver.run(lambda: giver.lane.thread.unwatch(ours.fileno()))
        ours.close()


def test_a_session_that_is_handed_over_wrongly_ends_and_no_other(servers: list[SocketAddress]) -> None:
    """Its giver may be in a stranger's hands."""
    with a_giver_and_a_taker(servers, 1) as (giver, taker, _), ExitStack() as stack:
        ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
        taker.run(lambda: taker.lane.receive(theirs))
        client, far = connected(stack)
        record = Handed(
            number=7,
            slot=1,
            up=FlowHanded(0, 0, 0.0, 0, False),
            down=FlowHanded(0, 0, 0.0, 0, False),
            idle_timeout=None,
            client=("127.0.0.1", 1),
            listener=taker.lane._snapshot.listeners[0],
            server=taker.lane._snapshot.pools[0].servers[0],
            opened_at=0.0,
        )
        with Path(os.devnull).open("rb") as wrong, capture_logs() as said:
            assert ours.offer(record, [client.fileno(), wrong.fileno()])
            client.close()
            with pytest.raises(ConnectionResetError):
                far.recv(1)
            ours.settimeout(DEADLINE)
            assert ours.receive() == Taken(7, taken=True)
        assert [(one["event"], one["reason"]) for one in said] == [
            ("session_broken_off", "it was handed over wrongly: a descriptor is of another kind")
        ]
        assert taker.count(Count.INTERNAL)[0] == 1
        assert (taker.clients, taker.count(Count.ACTIVE)[0]) == (0, 0)
        giver.run(lambda: giver.lane.hand_over([ours]))
        eventually(lambda: (giver.clients, taker.clients) == (0, 1), "the next one is taken")
        giver.run(lambda: giver.lane.thread.unwatch(ours.fileno()))
        ours.close()


def connected(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=DEADLINE))
        return stack.enter_context(listener.accept()[0]), far
