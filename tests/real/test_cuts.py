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

from kubelb.relay.session import End
from kubelb.snapshot import Snapshot, SocketAddress
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_WORKER, FromWorker
from kubelb.wire.messages import Listen, Ready, Release, SnapshotChanged, Stop
from kubelb.worker.cuts import Cuts, release
from tests.real.relay.rig import BLOB, LARGE, SMALL, Link, Rig, is_reset
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, name_of
from tests.support.lanes import RunningLane, a_lane, a_snapshot, with_server
from tests.support.proxy import EchoServers, echoes

both_shares = pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
pytestmark = pytest.mark.usefixtures("no_leaks")

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


def on_slot(rig: Rig, slot: int, count: int = 1) -> list[Link]:
    links = []
    for _ in range(count):
        link = Link.make()
        link.session.slot = slot
        links.append(rig.adopt(link))
    return links


def ordered(cut_at: Mapping[int, float], reset_spread: float) -> Snapshot:
    snapshot = a_snapshot([("127.0.0.1", 1), ("127.0.0.1", 2)], reset_spread=reset_spread)
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
        cuts = Cuts(rig.thread, Draws(0.9, 0.0001, 0.8, 0.0, 0.7))
        links = on_slot(rig, 1, 5)
        seen(rig, cuts, {1: time.monotonic() - 1}, reset_spread=10_000)
        eventually(lambda: len(living(rig, links)) == 3, "two are cut")
        left = living(rig, links)
        seen(rig, cuts, {}, reset_spread=10_000)
        assert living(rig, links) == left
        for link in links:
            assert link in left or is_reset(link.client)


def test_an_order_strikes_whoever_is_there_when_its_moment_comes() -> None:
    with Rig() as rig:
        cuts = Cuts(rig.thread, Draws(0.0, 1.0))
        links = on_slot(rig, 1)
        seen(rig, cuts, {1: time.monotonic() + 0.2}, reset_spread=0.2)
        links += on_slot(rig, 1)
        assert all(is_reset(link.client) for link in links)


def test_a_spread_that_is_changed_counts_unless_the_moment_has_come() -> None:
    with Rig() as rig:
        cuts = Cuts(rig.thread, Draws(0.5))
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
        cuts = Cuts(rig.thread, Draws(0.0, 0.0, 0.99))
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
        cuts = Cuts(rig.thread, Draws(*[0.0] * 4))
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
        cuts = Cuts(rig.thread, Draws(0.0, 0.99, 0.0))
        old, clock = on_slot(rig, 1, 2), on_slot(rig, 2)
        now = time.monotonic()
        rig.run(lambda: None)
        seen(rig, cuts, {1: now}, reset_spread=0.3)
        assert len(living(rig, old)) == 1
        new = on_slot(rig, 1)
        seen(rig, cuts, {2: now + 0.5}, reset_spread=0.0)
        assert is_reset(clock[0].client)
        assert len(living(rig, old)) == 1
        seen(rig, cuts, {1: now}, reset_spread=0.3)
        assert not living(rig, old)
        assert living(rig, new) == new


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
