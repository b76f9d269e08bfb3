"""Sessions that end because control wants it: what a worker does about a server's ``cut_at`` and about a release."""

from __future__ import annotations

import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import pytest

from kubelb.relay.session import End, Session
from kubelb.snapshot import Snapshot, SocketAddress, Spares
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_WORKER, FromWorker
from kubelb.wire.messages import Listen, Ready, Release, SnapshotChanged, Stop
from kubelb.worker.cuts import Cuts, release
from kubelb.worker.signs import acknowledged_since
from tests.real.relay.rig import BLOB, LARGE, SMALL, Link, Rig, is_reset
from tests.support.backlog import backlogged
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, name_of
from tests.support.lanes import RunningLane, a_lane, a_snapshot, with_server
from tests.support.proxy import EchoServers, echoes

both_shares = pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
pytestmark = pytest.mark.usefixtures("no_leaks")

SPREAD_OF_TWO = 25
"""For two sessions a spread is as long as if it were so many times shorter for many."""
WORKER = """
import sys
from kubelb.stats import Table
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import TO_WORKER
from kubelb.worker import main
channel, table = Channel.of(int(sys.argv[1]), TO_WORKER), Table(3)
main.run(main.Setup(index=0, channel=channel, table=table, rows=[table.row(0), table.row(1)],
                    snapshot=channel.receive().snapshot, share=True, cpus=(), pin=False))
"""
"""A worker of two relay threads, whose first snapshot comes through the channel too."""


class Client:
    """Sessions through a listener to echo servers."""

    def __init__(self, address: SocketAddress, servers: list[SocketAddress]) -> None:
        self._address = address
        self._servers = servers
        self._sockets: list[socket.socket] = []

    def open(self, count: int) -> list[list[socket.socket]]:
        """So many on each server, by server; with several relay threads, which take turns each, about so many."""
        opened = [keep(self._address) for _ in range(count * len(self._servers))]
        self._sockets += (sock for sock, _ in opened)
        by_server = [[sock for sock, name in opened if name == name_of(server)] for server in self._servers]
        assert all(by_server)
        return by_server

    def leave(self) -> None:
        for sock in self._sockets:
            leave(sock)


@pytest.fixture(scope="module")
def pair() -> Iterator[list[SocketAddress]]:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as servers:
        yield servers.addresses


@contextmanager
def a_client(pair: list[SocketAddress], share: bool = True) -> Iterator[tuple[Client, RunningLane, Snapshot]]:
    snapshot = a_snapshot(pair)
    with a_lane(snapshot, share=share) as lane:
        client = Client(lane.address, pair)
        try:
            yield client, lane, snapshot
        finally:
            client.leave()


def received(channel: Channel[FromWorker]) -> FromWorker | None:
    """The supervisor's end does not wait by itself."""
    assert select.select([channel], [], [], 30)[0]
    return channel.receive()


def test_a_worker_does_on_all_its_threads_what_comes_through_the_channel(pair: list[SocketAddress]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    snapshot, channel = a_snapshot(pair), Channel(ours, FROM_WORKER)
    with theirs, socket.create_server(("127.0.0.1", 0), backlog=511) as listening:
        listening.setblocking(False)
        command = [sys.executable, "-c", WORKER, str(theirs.fileno())]
        worker = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        client = Client(listening.getsockname(), pair)
        try:
            channel.send(SnapshotChanged(snapshot))
            assert received(channel) == Ready()
            channel.send(Listen(("x",)), [listening.fileno()])
            first, second = client.open(8)

            def all_closed() -> bool:
                for counts in ((99, 0, 0), (0, 99, 0)):
                    channel.send(Release(slot=1, counts=counts, quiet=0.0))
                return set(select.select(first, [], [], 0)[0]) == set(first)

            eventually(all_closed, "all have been at rest once")
            assert [sock.recv(1) for sock in first] == [b""] * len(first)
            assert all(map(echoes, second))
            channel.send(SnapshotChanged(with_server(snapshot, 1, cut_at=time.monotonic())))
            assert all(map(is_reset, second))
            channel.send(Stop())
            assert worker.wait(30) == 0
        finally:
            client.leave()
            channel.close()
            worker.kill()
            worker.wait()


@both_shares
def test_the_sessions_of_a_server_that_is_cut_are_reset_and_no_others(pair: list[SocketAddress], share: bool) -> None:
    with a_client(pair, share) as (client, lane, snapshot):
        first, second = client.open(4)
        lane.see(with_server(snapshot, 0, cut_at=time.monotonic()))
        assert all(map(is_reset, first))
        assert all(map(echoes, second))
        eventually(lambda: lane.count(Count.ACTIVE) == [0, 4], "the places are free again")
        assert lane.count(Count.CUTS) == [4, 0]


@both_shares
def test_sessions_begun_later_are_not_cut_however_often_the_order_comes(
    pair: list[SocketAddress], share: bool
) -> None:
    with a_client(pair, share) as (client, lane, snapshot):
        ordered = with_server(snapshot, 0, cut_at=time.monotonic())
        before, _ = client.open(2)
        lane.see(ordered)
        assert all(map(is_reset, before))
        later, _ = client.open(2)
        for picture in (ordered, snapshot, ordered):
            lane.see(picture)
        assert all(map(echoes, later))
        lane.see(with_server(snapshot, 0, cut_at=time.monotonic()))
        assert all(map(is_reset, later))


def test_a_cut_that_is_withdrawn_in_time_does_not_come(pair: list[SocketAddress]) -> None:
    with a_client(pair) as (client, lane, snapshot):
        first, second = client.open(2)
        now = time.monotonic()
        postponed = with_server(with_server(snapshot, 0, cut_at=now + 1000), 1, cut_at=now + 1000)
        lane.see(postponed)
        assert all(map(echoes, (*first, *second)))
        soon = with_server(postponed, 1, cut_at=time.monotonic() + 0.4)
        lane.see(with_server(soon, 0, cut_at=time.monotonic() + 0.3))
        lane.see(with_server(soon, 0, cut_at=None))
        assert all(map(is_reset, second))
        assert all(map(echoes, first))


@both_shares
def test_a_release_closes_the_longest_idle_ones_and_no_more_than_the_row_is_asked_for(
    pair: list[SocketAddress], share: bool
) -> None:
    with a_client(pair, share) as (client, lane, _):
        first, second = client.open(4)

        def ordered(counts: tuple[int, int], quiet: float) -> None:
            lane.run(lambda: lane.lane.release(Release(slot=1, counts=counts, quiet=quiet)))

        ordered((0, 9), quiet=0.0)
        ordered((9, 9), quiet=1000.0)
        for sock in (first[2], first[0], first[3], first[1], *second):
            assert echoes(sock)
        eventually(lambda: all(session.at_rest for session in lane.lane.thread.sessions()), "all is acknowledged")
        ordered((2, 9), quiet=0.0)
        assert [first[2].recv(1), first[0].recv(1)] == [b"", b""]
        assert all(map(echoes, (first[3], first[1], *second)))
        eventually(lambda: lane.count(Count.ACTIVE) == [2, 4], "the places are free again")
        assert lane.count(Count.REBALANCED) == [2, 0]
        assert lane.count(Count.CUTS) == [0, 0]


class Draws(random.Random):
    """Gives what the test says."""

    def __new__(cls, *draws: float) -> Draws:
        # Python 3.10 takes what is given for a seed.
        return super().__new__(cls)

    def __init__(self, *draws: float) -> None:
        super().__init__()
        self._draws = list(draws)

    def random(self) -> float:
        return self._draws.pop()


def drawn(rig: Rig, *draws: float) -> Cuts:
    """Cuts of a server that nobody is told about."""
    return Cuts(rig.thread, Draws(*draws), lambda slot: None)


def on_slot(rig: Rig, slot: int, count: int = 1) -> list[Link]:
    links = []
    for _ in range(count):
        link = Link.make()
        link.session.slot = slot
        links.append(rig.adopt(link))
    return links


def ordered(cut_at: Mapping[int, float], reset_spread: float) -> Snapshot:
    snapshot = a_snapshot([("127.0.0.1", port) for port in (1, 2, 3)], reset_spread=reset_spread)
    for slot, moment in cut_at.items():
        snapshot = with_server(snapshot, slot - 1, cut_at=moment)
    return snapshot


def seen(rig: Rig, cuts: Cuts, cut_at: Mapping[int, float], reset_spread: float) -> None:
    rig.run(lambda: cuts.see(ordered(cut_at, reset_spread)))


def living(rig: Rig, links: list[Link]) -> list[Link]:
    rig.run(lambda: None)
    return [link for link in links if link.session.about not in rig.book.ends]


def test_cuts_are_spread() -> None:
    """Each at its own moment, and in no order of age; what has not been reached stays when the order is withdrawn."""
    with Rig() as rig:
        cuts = drawn(rig, 0.9, 0.0001, 0.8, 0.0, 0.7)
        links = on_slot(rig, 1, 5)
        seen(rig, cuts, {1: time.monotonic() - 1}, reset_spread=10_000)
        eventually(lambda: len(living(rig, links)) == 3, "two are cut")
        left = living(rig, links)
        seen(rig, cuts, {}, reset_spread=10_000)
        assert living(rig, links) == left
        for link in links:
            assert link in left or is_reset(link.client)


def test_a_handful_is_cut_at_once_and_many_over_the_whole_spread() -> None:
    """Each is the last that chance allows."""
    with Rig() as rig:
        cuts = drawn(rig, 0.0, *[0.999] * 65)
        few, many, clock = on_slot(rig, 1, 5), on_slot(rig, 2, 60), on_slot(rig, 3)
        now = time.monotonic()
        rig.run(lambda: None)
        seen(rig, cuts, {1: now - 100, 2: now - 100, 3: now + 0.5}, reset_spread=999)
        assert is_reset(clock[0].client)
        assert living(rig, [*few, *many]) == many


def test_an_order_strikes_whoever_is_there_when_its_moment_comes() -> None:
    with Rig() as rig:
        cuts = drawn(rig, 0.0, 1.0)
        links = on_slot(rig, 1)
        seen(rig, cuts, {1: time.monotonic() + 0.2}, reset_spread=0.2)
        links += on_slot(rig, 1)
        assert all(is_reset(link.client) for link in links)


def test_a_spread_that_is_changed_counts_unless_the_moment_has_come() -> None:
    with Rig() as rig:
        cuts = drawn(rig, 0.5)
        (link,) = on_slot(rig, 1)
        soon = {1: time.monotonic() + 0.5}
        before, after = ordered(soon, reset_spread=1e6), ordered(soon, reset_spread=0.0)

        def see_both() -> None:
            cuts.see(before)
            cuts.see(after)

        rig.run(see_both)
        assert is_reset(link.client)


def test_a_session_that_comes_from_elsewhere_is_not_cut_by_an_order_that_is_withdrawn() -> None:
    """Nor does its coming bring the order back for the others; the order itself does, for all of them."""
    with Rig() as rig:
        cuts = drawn(rig, 0.0, 0.0, 0.99)
        here = on_slot(rig, 1)
        cut_at = time.monotonic() - 1
        seen(rig, cuts, {1: cut_at}, reset_spread=1e6)
        seen(rig, cuts, {}, reset_spread=1e6)
        came = on_slot(rig, 1)
        rig.run(lambda: cuts.include(came[0].session, opened_at=cut_at - 1))
        assert living(rig, [*here, *came]) == [*here, *came]
        seen(rig, cuts, {1: cut_at}, reset_spread=1e6)
        assert living(rig, [*here, *came]) == here


def test_a_session_that_comes_from_elsewhere_is_cut_only_if_it_was_begun_before() -> None:
    with Rig() as rig:
        cuts = drawn(rig, *[0.0] * 4)
        cut_at = time.monotonic() - 1
        seen(rig, cuts, {1: cut_at}, reset_spread=0.0)
        came = on_slot(rig, 1, 3)
        for link, opened_at in zip(came, (cut_at + 0.5, cut_at - 0.5, cut_at + 0.001), strict=True):
            rig.run(partial(cuts.include, link.session, opened_at))
        assert living(rig, came) == [came[0], came[2]]
        seen(rig, cuts, {1: cut_at}, reset_spread=0.0)
        assert living(rig, came) == [came[0], came[2]]


def test_what_is_left_of_an_order_is_done_when_it_comes_back() -> None:
    """And nothing else: it was carried out as far as sessions begun meanwhile are concerned."""
    with Rig() as rig:
        cuts = drawn(rig, 0.0, 0.99, 0.0)
        spread = 0.3 * SPREAD_OF_TWO
        old, clock = on_slot(rig, 1, 2), on_slot(rig, 2)
        now = time.monotonic()
        rig.run(lambda: None)
        seen(rig, cuts, {1: now}, reset_spread=spread)
        assert len(living(rig, old)) == 1
        new = on_slot(rig, 1)
        seen(rig, cuts, {2: now + 0.5}, reset_spread=0.0)
        assert is_reset(clock[0].client)
        assert len(living(rig, old)) == 1
        seen(rig, cuts, {1: now}, reset_spread=spread)
        assert not living(rig, old)
        assert living(rig, new) == new


class Judged:
    """Sessions of one server, and cuts of it that spare some of them."""

    def __init__(self, rig: Rig, spares: Spares, count: int = 3) -> None:
        self._rig = rig
        self._spares = spares
        self.lives: list[int] = []
        """The slots of servers that have been found to live."""
        self._cuts = Cuts(rig.thread, random.Random(1), self.lives.append)
        self.links = on_slot(rig, 1, count)
        self.other = on_slot(rig, 2)[0]
        for link in (*self.links, self.other):
            answered(link)
        self.against = self.after_all()

    def after_all(self) -> float:
        """A moment after all that has come until now, beyond doubt: the kernel's own times are not that exact."""
        sessions = [link.session for link in self.links]

        def moment() -> float | None:
            now = time.monotonic()
            return None if any(acknowledged_since(session, now - 0.05) for session in sessions) else now

        return eventually(moment, "the last packets are from before")

    def cut(self, cut_at: float | None = None, against: float | None = None) -> list[Link]:
        """Who lives on, after a cut that rests on what was seen at ``against``."""
        changes = {
            "cut_at": time.monotonic() - 1 if cut_at is None else cut_at,
            "cut_spares": self._spares,
            "cut_against": self.against if against is None else against,
        }
        snapshot = with_server(ordered({}, reset_spread=0.0), 0, **changes)
        self._rig.run(lambda: self._cuts.see(snapshot))
        # Those on threads of their own have been asked by now, and answer in order.
        return [link for link in self.links if self._survives(link)]

    def _survives(self, link: Link) -> bool:
        asked: list[bool] = []

        def refuse(session: Session) -> bool:
            asked.append(True)
            return False

        def done() -> bool:
            return bool(asked) or link.session.about in self._rig.book.ends

        def ask() -> None:
            self._rig.thread.end(link.session, End.CUT, refuse)

        self._rig.run(ask)
        eventually(done, "it has answered or ended")
        return link.session.about not in self._rig.book.ends


def answered(link: Link) -> None:
    """Bytes have gone up and down, and the thread that has moved them has noted when."""
    before = time.monotonic()
    for here, there in ((link.client, link.server), (link.server, link.client)):
        here.sendall(b"x")
        assert there.recv(1) == b"x"
    eventually(lambda: link.session.down.moved_at >= before, "it is noted")


def acknowledged(link: Link, since: float) -> None:
    """Bytes have gone up and the server's kernel has said so."""
    link.client.sendall(b"?")
    assert link.server.recv(1) == b"?"
    eventually(lambda: acknowledged_since(link.session, since), "it is acknowledged")


@both_shares
@pytest.mark.parametrize("spares", ["heard", "acknowledged"])
def test_nobody_is_cut_whose_server_was_heard_of_since_the_evidence_against_it(spares: Spares, share: bool) -> None:
    """By whatever session of it, also one that was begun later; and control is told."""
    with Rig(share=share) as rig:
        judged = Judged(rig, spares)
        answered(judged.links[1])
        assert judged.cut() == judged.links
        assert judged.lives == [1]
        later = on_slot(rig, 1)[0]
        against = judged.after_all()
        answered(later)
        judged.links.append(later)
        assert judged.cut(against=against) == judged.links
        assert judged.lives == [1, 1]


@both_shares
@pytest.mark.parametrize("spares", ["heard", "acknowledged"])
def test_a_server_that_was_heard_of_before_the_evidence_only_is_cut(spares: Spares, share: bool) -> None:
    with Rig(share=share) as rig:
        judged = Judged(rig, spares)
        answered(judged.other)
        assert judged.cut() == []
        assert judged.lives == []


def test_a_session_of_which_packets_came_since_is_spared_where_the_server_was_thought_to_be_gone() -> None:
    with Rig() as rig:
        judged = Judged(rig, "acknowledged")
        acknowledged(judged.links[1], judged.against)
        assert judged.cut() == [judged.links[1]]
        assert judged.lives == []


def test_packets_spare_nobody_where_the_server_was_thought_to_hang() -> None:
    with Rig() as rig:
        judged = Judged(rig, "heard")
        acknowledged(judged.links[1], judged.against)
        assert judged.cut() == []


def test_an_order_that_spares_nobody_asks_nobody() -> None:
    with Rig() as rig:
        judged = Judged(rig, "nobody")
        answered(judged.links[1])
        assert judged.cut() == []
        assert judged.lives == []


def test_what_was_spared_is_cut_by_another_order_only() -> None:
    with Rig() as rig:
        judged = Judged(rig, "acknowledged")
        acknowledged(judged.links[1], judged.against)
        cut_at = time.monotonic() - 1
        assert judged.cut(cut_at) == [judged.links[1]]
        judged.links = [judged.links[1]]
        against = judged.after_all()
        assert judged.cut(cut_at, against) == judged.links
        assert judged.cut(against=against) == []


def test_bytes_that_were_waiting_to_be_read_are_no_sign_of_life() -> None:
    """The client was slow; the server sent them before, and has gone since."""
    with Rig() as rig:
        judged = Judged(rig, "heard", count=0)
        judged.links.append(link := rig.adopt(Link.make(SMALL)))
        sent = backlogged(link.session, link.server, 1024)
        against = judged.after_all()
        while sent:
            sent -= len(link.client.recv(1 << 20))
        eventually(lambda: link.session.down.moved_at > against, "it is noted")
        assert judged.cut(against=against) == []


@both_shares
def test_a_session_with_bytes_on_their_way_is_never_released(share: bool) -> None:
    with Rig(share=share) as rig:
        blocked, half, idle, other = (rig.open(SMALL) for _ in range(4))
        other.session.slot = 2
        blocked.block(blocked.client, BLOB)
        half.client.shutdown(socket.SHUT_WR)
        assert half.server.recv(1) == b""
        links = [blocked, half, idle, other]
        rig.run(lambda: release(rig.thread, 1, 9, quiet=0.0))
        assert rig.end_of(idle) is End.REBALANCED
        # On threads of their own they are asked: an answer to a second question comes after that to the first.
        refused: list[str] = []
        rig.run(_asking(rig, (blocked, half), refused))
        eventually(lambda: len(refused) == 2, "they have decided")
        assert living(rig, links) == [blocked, half, other]


def _asking(rig: Rig, links: tuple[Link, ...], asked: list[str]) -> Callable[[], None]:
    def refuse(session: object) -> bool:
        asked.append("no")
        return False

    def call() -> None:
        for link in links:
            rig.thread.end(link.session, End.CUT, refuse)

    return call


def test_a_bulk_session_is_never_released() -> None:
    with Rig() as rig:
        bulk, idle = rig.open(LARGE), rig.open()
        rig.promote(bulk)
        rig.run(lambda: release(rig.thread, 1, 9, quiet=0.0))
        assert rig.end_of(idle) is End.REBALANCED
        assert living(rig, [bulk]) == [bulk]
        bulk.client.sendall(b"x")
        assert bulk.server.recv(1) == b"x"
