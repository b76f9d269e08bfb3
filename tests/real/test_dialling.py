"""How a client gets to a server when servers refuse, do not answer, or break what they had: over real sockets.

Where a time is given as an hour, what is asserted cannot have happened because that had passed.
"""

from __future__ import annotations

import errno
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest
from structlog.testing import capture_logs

from kubelb.config.variables import Client, Worker
from kubelb.crowds import Crowds
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Server, Snapshot, SocketAddress
from kubelb.stats import Count, Table
from kubelb.wire.messages import Sighting, Stalled
from kubelb.worker.books import Books
from kubelb.worker.dial import Dial
from kubelb.worker.sightings import Sightings
from kubelb.worker.view import PoolView
from tests.real.relay.rig import connection, read_to_the_end
from tests.support.descriptors import descriptors_left
from tests.support.eventually import eventually
from tests.support.holes import Hole, a_hole
from tests.support.identity import IdentityServers, ask, keep, leave, name_of, refusing, reset
from tests.support.lanes import DEADLINE, LONG, RunningLane, a_lane, a_snapshot, with_server
from tests.support.proxy import reserved
from tests.support.syscalls import where_refused, where_refused_once

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT = 0.02
"""Seconds: as little as there has to be waited for, since something is."""


@pytest.fixture(scope="module")
def staying() -> Iterator[list[SocketAddress]]:
    with IdentityServers(["127.0.0.1", "127.0.0.2"], stay=True) as servers:
        yield servers.addresses


@pytest.fixture
def hole() -> Iterator[Hole]:
    with a_hole() as hole:
        yield hole


def test_one_that_does_not_answer_is_not_waited_for(hole: Hole, answering: list[SocketAddress]) -> None:
    with a_lane(a_snapshot([hole.address, answering[0]], hedge_delay=SHORT)) as lane:
        assert {ask(lane.address) for _ in range(20)} == {name_of(answering[0])}
        assert lane.count(Count.DIAL_FAILURES) == [1, 0]
        (fault,) = lane.faults(1)
        assert fault.startswith("no answer to connect for 0.0")
        assert not lane.faults(2)


def test_all_have_their_chance_in_time(answering: list[SocketAddress]) -> None:
    """The last of many is reached although the hedge delay alone would not let it."""
    with ExitStack() as stack:
        holes = [stack.enter_context(a_hole()).address for _ in range(7)]
        snapshot = a_snapshot([*holes, answering[0]], connect_timeout=2, hedge_delay=LONG)
        with a_lane(snapshot) as lane:
            assert ask(lane.address) == name_of(answering[0])
            # The time of the seventh may not have been quite up.
            assert lane.count(Count.DIAL_FAILURES)[:6] == [1] * 6


def test_when_none_answers_the_client_is_reset_and_all_have_been_tried(hole: Hole) -> None:
    with a_hole() as other, a_lane(a_snapshot([hole.address, other.address], connect_timeout=0.2)) as lane:
        lane.assert_refuses()
        assert lane.count(Count.DIAL_FAILURES) == [1, 1]
        assert all(fault.startswith("no answer") for slot in (1, 2) for fault in lane.faults(slot))
        assert len(lane.sightings) == 2


def test_one_that_refuses_is_followed_by_the_next(refuser: SocketAddress, answering: list[SocketAddress]) -> None:
    with a_lane(a_snapshot([refuser, answering[0]])) as lane:
        assert {ask(lane.address) for _ in range(10)} == {name_of(answering[0])}
        assert lane.faults(1) == ["connection refused"]
        assert lane.count(Count.DIAL_FAILURES) == [1, 0]


def test_when_all_refuse_the_client_is_reset_at_once(refuser: SocketAddress) -> None:
    with refusing(["127.0.0.2"]) as (other,), a_lane(a_snapshot([refuser, other])) as lane:
        for number in range(1, 6):
            lane.assert_refuses()
            assert lane.count(Count.DIAL_FAILURES) == [number, number]


def test_one_that_refuses_late_is_followed_at_once(hole: Hole, answering: list[SocketAddress]) -> None:
    with a_lane(a_snapshot([hole.address, answering[0]])) as lane, lane.connect() as client:
        eventually(lambda: lane.count(Count.ACTIVE) == [1, 0], "it is dialled")
        hole.refuse()
        assert client.recv(256).decode().rstrip() == name_of(answering[0])
        assert lane.faults(1) == ["connection refused"]


def test_the_late_answer_of_the_first_wins_over_silence(hole: Hole) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(a_hole())
        lane = stack.enter_context(a_lane(a_snapshot([hole.address, other.address], hedge_delay=SHORT)))
        with lane.connect() as client:
            eventually(lambda: lane.count(Count.ACTIVE) == [1, 1], "both are dialled")
            with hole.open() as server:
                client.sendall(b"hello")
                assert server.recv(5) == b"hello"
                assert lane.count(Count.ACTIVE) == [1, 0]
                assert lane.count(Count.DIAL_FAILURES) == [0, 1]
                assert lane.count(Count.OPENED) == [1, 0]


def test_a_client_that_is_gone_is_not_dialled_for(hole: Hole) -> None:
    with a_hole() as other, a_lane(a_snapshot([hole.address, other.address], hedge_delay=SHORT)) as lane:
        client = lane.connect()
        eventually(lambda: lane.count(Count.ACTIVE) == [1, 1], "both are dialled")
        assert lane.clients == 1
        reset(client)
        eventually(lane.is_quiet, "the dial has ended")
        assert lane.turned_away == 0
        assert lane.count(Count.DIAL_FAILURES) == [0, 0]
        assert not lane.sightings


def test_a_client_that_has_said_all_is_served_nevertheless(hole: Hole) -> None:
    """Half-closed is not gone."""
    with ExitStack() as stack:
        other = stack.enter_context(a_hole())
        lane = stack.enter_context(a_lane(a_snapshot([hole.address, other.address], hedge_delay=SHORT)))
        with lane.connect() as client:
            client.sendall(b"all")
            client.shutdown(socket.SHUT_WR)
            eventually(lambda: lane.count(Count.ACTIVE) == [1, 1], "both are dialled")
            with hole.open() as server:
                assert read_to_the_end(server) == b"all"
                server.sendall(b"the answer")
            assert read_to_the_end(client) == b"the answer"


def test_least_conn_sends_nobody_back_to_the_dead_one(hole: Hole, staying: list[SocketAddress]) -> None:
    """It has the fewest sessions of all, and all who redial come at the same time."""
    with a_lane(a_snapshot([hole.address, *staying], "least_conn", hedge_delay=SHORT)) as lane, ExitStack() as held:
        clients = [held.enter_context(lane.connect()) for _ in range(30)]
        reached = Counter(client.recv(256).decode().rstrip() for client in clients)
        assert reached == {name_of(address): 15 for address in staying}
        # One in three at most: dials count as sessions.
        failures = lane.count(Count.DIAL_FAILURES)[0]
        assert 1 <= failures <= 10
        for _ in range(20):
            client, name = keep(lane.address)
            held.callback(leave, client)
            assert name in reached
        assert lane.count(Count.DIAL_FAILURES) == [failures, 0, 0]
        assert lane.count(Count.ACTIVE) == [0, 25, 25]


def test_the_first_one_back_serves_the_very_next_client(refuser: SocketAddress) -> None:
    """nginx refuses for seconds longer."""
    with socket.socket() as sleeper:
        sleeper.bind(("127.0.0.1", 0))
        with a_lane(a_snapshot([refuser, sleeper.getsockname()])) as lane:
            for _ in range(40):
                lane.assert_refuses()
            sleeper.listen()
            with lane.connect() as client, sleeper.accept()[0] as server:
                server.sendall(b"back")
                assert client.recv(4) == b"back"
                assert lane.count(Count.OPENED) == [0, 1]


class Still:
    """One dial on a relay thread that does not run: the time is the test's."""

    def __init__(self, snapshot: Snapshot, stack: ExitStack, begin: bool = True) -> None:
        (listener,), (pool,) = snapshot.listeners, snapshot.pools
        self.table = Table(1)
        stack.callback(self.table.close)
        self.row = row = self.table.row(0)
        stack.callback(row.release)
        self._reports: list[Sighting | Stalled] = []
        books = Books(row, Crowds(self.table, 0))
        self.thread = RelayThread(books)
        stack.callback(self.thread.close)
        self.at(0.0)
        view = PoolView(pool, self.table, row, random.Random(1), Sightings(self._reports.append), Worker("", 0))
        self.client, near = connection(None)
        stack.enter_context(self.client)
        books.accepted()
        self.exhausted = 0
        who = Client(1, ("127.0.0.1", 1), ("127.0.0.1", 2))
        self.dial = Dial(near, who, listener, view, self.thread, books, self._exhausted)
        if begin:
            self.dial.begin()

    def _exhausted(self, reason: str) -> None:
        self.exhausted += 1

    @property
    def sightings(self) -> list[Sighting]:
        """What it has reported; a dial reports nothing else."""
        return [report for report in self._reports if isinstance(report, Sighting)]

    def at(self, now: float) -> None:
        self.thread.now = self.thread._mover.now = now

    def expire(self, now: float) -> None:
        self.at(now)
        self.dial.expired()
        self.thread.post(lambda: None)
        self.thread._inbox.run()

    def count(self, word: int) -> list[int]:
        return [self.table.total(slot, word) for slot in (1, 2, 3)]


def test_by_the_clock(hole: Hole, answering: list[SocketAddress]) -> None:
    with a_hole() as other, ExitStack() as stack:
        still = Still(a_snapshot([hole.address, other.address, answering[0]], hedge_delay=0.25), stack)
        still.expire(0.24)
        assert still.count(Count.ACTIVE) == [1, 0, 0]
        still.expire(0.25)
        assert still.count(Count.ACTIVE) == [1, 1, 0]
        still.expire(0.5)
        assert still.count(Count.ACTIVE) == [0, 0, 1]
        assert still.count(Count.DIAL_FAILURES) == [1, 1, 0]
        faults = [sighting.fault for sighting in still.sightings]
        assert faults == ["no answer to connect for 0.50 s", "no answer to connect for 0.25 s"]


KINDS = (Count.REFUSED, Count.UNANSWERED, Count.UNREACHABLE, Count.RESET, Count.OTHERWISE)


@pytest.mark.parametrize(
    ("address", "kind"), [(("224.0.0.1", 9), Count.UNREACHABLE), (("fe80::1", 9), Count.OTHERWISE)]
)
def test_where_no_connection_can_lead_is_no_matter_of_waiting(address: SocketAddress, kind: int) -> None:
    """To a multicast address, and to one of a link that is not named: both are refused by this machine."""
    with a_lane(a_snapshot([address])) as lane:
        lane.assert_refuses()
        assert [lane.count(word) for word in KINDS] == [[int(word == kind)] for word in KINDS]


def test_why_a_dial_failed_is_counted(hole: Hole, refuser: SocketAddress) -> None:
    with a_hole() as other, a_lane(a_snapshot([refuser, hole.address, other.address], connect_timeout=0.2)) as lane:
        lane.assert_refuses()
        assert [lane.count(word) for word in KINDS] == [[1, 0, 0], [0, 1, 1], [0] * 3, [0] * 3, [0] * 3]
        assert lane.count(Count.DIAL_FAILURES) == [1, 1, 1]
        eventually(lambda: lane.turned_away == 1, "and so is the client")


def test_a_connection_that_was_reset_before_it_was_looked_at(hole: Hole, answering: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        still = Still(a_snapshot([hole.address, answering[0]], hedge_delay=0.25), stack)
        reset(hole.open())
        still.expire(0.1)
        assert [still.count(word) for word in KINDS] == [[0] * 3, [0] * 3, [0] * 3, [1, 0, 0], [0] * 3]
        assert still.count(Count.OPENED) == [0, 1, 0]


@pytest.mark.parametrize(("seconds", "bucket"), [(0.3, 5), (2.6, 8)])
def test_how_long_a_server_took_to_accept_is_counted(hole: Hole, seconds: float, bucket: int) -> None:
    with ExitStack() as stack:
        still = Still(a_snapshot([hole.address]), stack)
        stack.enter_context(hole.open())
        still.expire(seconds)
        counts = [still.count(word)[0] for word in Count.DIAL_SECONDS.counts]
        assert counts == [int(number == bucket) for number in range(9)]
        assert still.count(Count.DIAL_SECONDS.first) == [pytest.approx(seconds * 1e6, abs=1), 0, 0]


def test_one_that_accepts_at_once_takes_some_time_too(answering: list[SocketAddress]) -> None:
    with a_lane(a_snapshot(answering)) as lane:
        for _ in range(6):
            ask(lane.address)
        counts = [lane.count(word) for word in Count.DIAL_SECONDS.counts]
        assert [sum(each) for each in zip(*counts, strict=True)] == lane.count(Count.OPENED) == [3, 3]
        assert all(lane.count(Count.DIAL_SECONDS.first))


def test_one_that_refuses_while_another_is_silent_is_followed_at_once(
    hole: Hole, answering: list[SocketAddress]
) -> None:
    with a_hole() as other, ExitStack() as stack:
        still = Still(a_snapshot([hole.address, other.address, answering[0]], hedge_delay=0.25), stack)
        still.expire(0.25)
        assert still.count(Count.ACTIVE) == [1, 1, 0]
        hole.refuse()

        def refused() -> bool:
            still.expire(0.3)
            return still.count(Count.DIAL_FAILURES) == [1, 0, 0]

        eventually(refused, "the refusal has come")
        assert still.count(Count.ACTIVE) == [0, 0, 1]


def test_where_no_other_has_room_the_first_is_waited_for(hole: Hole, answering: list[SocketAddress]) -> None:
    full = Server(slot=2, name="full", address=answering[0], max_conns=1)
    silent = Server(slot=1, name="silent", address=hole.address)
    with ExitStack() as stack:
        still = Still(a_snapshot([silent, full], connect_timeout=2, hedge_delay=0.25), stack)
        still.row.add(2, Count.ACTIVE)
        still.expire(0.25)
        assert still.count(Count.ACTIVE) == [1, 1, 0]
        still.expire(2.0)
        assert still.count(Count.ACTIVE) == [0, 1, 0]
        with pytest.raises(ConnectionResetError):
            still.client.recv(1)


def test_one_that_had_no_time_to_answer_has_not_failed(hole: Hole, answering: list[SocketAddress]) -> None:
    """The thread has been late, so that two are tried in the same moment and the second of them answers."""
    with a_hole() as other, ExitStack() as stack:
        servers = [hole.address, other.address, answering[0]]
        still = Still(a_snapshot(servers, connect_timeout=3, hedge_delay=0.25), stack)
        still.expire(2.5)
        assert still.count(Count.ACTIVE) == [0, 0, 1]
        assert still.count(Count.DIAL_FAILURES) == [1, 0, 0]
        assert [sighting.slot for sighting in still.sightings] == [1]


def test_an_answer_that_the_thread_has_not_looked_at_counts(listener: socket.socket, hole: Hole) -> None:
    """It comes before the deadline's verdict: a worker that stood still has nobody to blame."""
    with ExitStack() as stack:
        still = Still(a_snapshot([hole.address, listener.getsockname()], connect_timeout=2, hedge_delay=0.25), stack)
        stack.enter_context(hole.open())
        still.expire(99.0)
        assert still.count(Count.ACTIVE) == [1, 0, 0]
        assert still.count(Count.DIAL_FAILURES) == [0, 0, 0]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        yield listener


def test_without_a_descriptor_for_another_the_first_is_waited_for(hole: Hole, answering: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        still = Still(a_snapshot([hole.address, answering[0]], connect_timeout=2, hedge_delay=0.25), stack)
        with descriptors_left(0):
            for now in (0.25, 0.35, 1.9):
                still.expire(now)
            assert still.exhausted == 3
            assert still.count(Count.ACTIVE) == [1, 0, 0]
        still.expire(1.95)
        assert still.count(Count.ACTIVE) == [0, 1, 0]
        assert still.count(Count.DIAL_FAILURES) == [1, 0, 0]


EXHAUSTED = [
    *(("socket", code) for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)),
    *(("connect", code) for code in (errno.ENOBUFS, errno.ENOMEM)),
]
"""What this machine has no more of."""
NOT_POSSIBLE = [
    *(("socket", code) for code in (errno.EPERM, errno.EACCES)),
    *(("connect", code) for code in (errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EPERM, errno.EACCES)),
]
"""No port is free towards a server, or a rule of this machine's forbids it."""


@pytest.mark.parametrize(("call", "code"), EXHAUSTED)
def test_what_is_used_up_is_no_fault_of_a_server(answering: list[SocketAddress], call: str, code: int) -> None:
    """It cannot be asked: its place is given back, and its turn comes again a little later."""
    with ExitStack() as stack:
        still = Still(a_snapshot(answering[:1], connect_timeout=2), stack, begin=False)
        where_refused(call, code, still.dial.begin)
        where_refused(call, code, partial(still.expire, 0.1))
        assert still.exhausted == 2
        assert still.count(Count.ACTIVE) == still.count(Count.DIAL_FAILURES) == [0, 0, 0]
        still.expire(0.2)
        assert still.count(Count.OPENED) == [1, 0, 0]
        assert not still.sightings


@pytest.mark.parametrize(("call", "code"), EXHAUSTED)
def test_what_is_used_up_for_all_of_the_time_there_is(answering: list[SocketAddress], call: str, code: int) -> None:
    with ExitStack() as stack:
        still = Still(a_snapshot(answering[:1], connect_timeout=2), stack, begin=False)
        where_refused(call, code, still.dial.begin)
        where_refused(call, code, partial(still.expire, 2.0))
        with pytest.raises(ConnectionResetError):
            still.client.recv(1)
        assert still.count(Count.ACTIVE) == still.count(Count.DIAL_FAILURES) == [0, 0, 0]
        assert not still.sightings


@pytest.mark.parametrize(("call", "code"), NOT_POSSIBLE)
def test_what_is_not_possible_here_is_no_fault_of_a_server(
    answering: list[SocketAddress], call: str, code: int
) -> None:
    """Each server is asked, for it may be possible with another; then the client is reset, and it is said why."""
    with capture_logs() as logs, ExitStack() as stack:
        still = Still(a_snapshot(answering), stack, begin=False)
        where_refused(call, code, still.dial.begin)
        with pytest.raises(ConnectionResetError):
            still.client.recv(1)
        assert still.count(Count.ACTIVE) == still.count(Count.DIAL_FAILURES) == [0, 0, 0]
        assert not still.sightings
        said = [record["server"] for record in logs if record["event"] == "connect_impossible"]
        assert said == [name_of(server) for server in answering]


def test_where_one_server_cannot_be_asked_another_is(answering: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        still = Still(a_snapshot(answering), stack, begin=False)
        where_refused_once("connect", errno.EADDRNOTAVAIL, still.dial.begin)
        assert still.count(Count.OPENED) == [0, 1, 0]
        assert still.count(Count.DIAL_FAILURES) == [0, 0, 0]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ECONNREFUSED, Count.REFUSED),
        (errno.ETIMEDOUT, Count.UNANSWERED),
        (errno.EHOSTUNREACH, Count.UNREACHABLE),
        (errno.EHOSTDOWN, Count.UNREACHABLE),
        (errno.ENETUNREACH, Count.UNREACHABLE),
        (errno.ENETDOWN, Count.UNREACHABLE),
        (errno.ECONNRESET, Count.RESET),
        (errno.EPROTO, Count.OTHERWISE),
    ],
)
def test_every_way_to_fail_has_its_count(answering: list[SocketAddress], code: int, kind: int) -> None:
    with ExitStack() as stack:
        still = Still(a_snapshot(answering), stack, begin=False)
        where_refused("connect", code, still.dial.begin)
        assert [still.count(word)[:2] for word in KINDS] == [[int(word == kind)] * 2 for word in KINDS]
        assert still.count(Count.DIAL_FAILURES) == [1, 1, 0]
        assert [sighting.slot for sighting in still.sightings] == [1, 2]
        with pytest.raises(ConnectionResetError):
            still.client.recv(1)


@pytest.mark.parametrize(("seconds", "failures"), [(0.49, [0, 0, 0]), (0.5, [0, 1, 0])])
def test_one_that_had_no_hedge_delay_has_not_failed_when_another_answers(
    hole: Hole, seconds: float, failures: list[int]
) -> None:
    """The second was asked when the first had not answered for a quarter of a second; now the first does."""
    with a_hole() as other, ExitStack() as stack:
        still = Still(a_snapshot([hole.address, other.address], hedge_delay=0.25), stack)
        still.expire(0.25)
        assert still.count(Count.ACTIVE) == [1, 1, 0]
        stack.enter_context(hole.open())
        still.expire(seconds)
        assert still.count(Count.ACTIVE) == [1, 0, 0]
        assert still.count(Count.DIAL_FAILURES) == failures


def test_that_a_server_is_failing_is_said_when_that_begins() -> None:
    """Not of each client that meets it; and again where it has been well in between."""
    with capture_logs() as logs, reserved() as address, a_lane(a_snapshot([address])) as lane:
        for times in (1, 2):
            for _ in range(3):
                lane.assert_refuses()
            said = [record["server"] for record in logs if record["event"] == "server_failing"]
            assert said == [name_of(address)] * times
            with socket.create_server(address) as server, lane.connect() as client, server.accept()[0] as accepted:
                accepted.sendall(b"!")
                assert client.recv(1) == b"!"


@pytest.mark.parametrize("seed", range(3))
def test_no_place_is_lost_in_a_storm(seed: int, staying: list[SocketAddress], refuser: SocketAddress) -> None:
    """Servers that serve, refuse, say nothing, or break off; clients that leave in every way; health that changes."""
    rng = random.Random(seed)
    with a_hole() as hole, a_hole() as other, socket.create_server(("127.0.0.1", 0)) as breaker, ExitStack() as held:
        breaker.setblocking(False)
        addresses = [hole.address, staying[0], refuser, breaker.getsockname(), other.address, staying[1]]
        servers = [
            Server(slot=slot, name=name_of(address), address=address, max_fails=0, max_conns=slot % 3 * 8)
            for slot, address in enumerate(addresses, 1)
        ]
        snapshot = a_snapshot(servers, rng.choice(("round_robin", "least_conn")), 0.3, hedge_delay=SHORT)
        with a_lane(snapshot) as lane:
            clients: list[socket.socket] = []
            while sum(lane.count(Count.OPENED)) < 150 or sum(lane.count(Count.DIAL_FAILURES)) < 100:
                clients.append(held.enter_context(lane.connect()))
                clients[-1].setblocking(False)
                with suppress(BlockingIOError, OSError):
                    reset(breaker.accept()[0])
                if rng.random() < 0.7:
                    part(clients.pop(rng.randrange(len(clients))), rng)
                if rng.random() < 0.1:
                    states = ("up", "suspect", "down", "draining", "disabled")
                    lane.see(with_server(snapshot, rng.randrange(len(servers)), state=rng.choice(states)))
            for client in clients:
                part(client, rng)
            eventually(lambda: drained(breaker, lane), "all have gone")


def part(client: socket.socket, rng: random.Random) -> None:
    how = rng.randrange(3)
    if how == 0:
        reset(client)
        return
    if how == 1:
        with suppress(OSError):
            client.send(b"bye")
            client.shutdown(socket.SHUT_WR)
    client.close()


def drained(breaker: socket.socket, lane: RunningLane) -> bool:
    with suppress(BlockingIOError):
        while True:
            reset(breaker.accept()[0])
    return lane.is_quiet()
