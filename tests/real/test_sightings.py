"""What workers report of the servers they dial and of the sessions they hold, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from kubelb.config.model.pools import Health
from kubelb.config.values import Duration
from kubelb.crowds import Crowds
from kubelb.relay.session import End
from kubelb.snapshot import SocketAddress
from kubelb.stats import Count, Table
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_WORKER, TO_WORKER
from kubelb.wire.messages import Ready, Sighting, Stalled
from kubelb.worker.books import Books, Visit
from kubelb.worker.sightings import Sightings
from kubelb.worker.waits import Finding
from tests.real.relay.rig import Link
from tests.support.eventually import eventually
from tests.support.identity import ask, name_of, reset
from tests.support.lanes import DEADLINE, LONG, a_lane, a_snapshot, with_server
from tests.support.proxy import a_config, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        yield listener


def accept(listener: socket.socket, client: socket.socket) -> socket.socket:
    """The server's end of the client's session, once that has carried a byte."""
    server, _ = listener.accept()
    server.settimeout(DEADLINE)
    client.sendall(b"!")
    assert server.recv(1) == b"!"
    return server


@pytest.mark.parametrize("state", ["suspect", "down"])
def test_one_that_is_away_and_accepts_is_reported(answering: list[SocketAddress], state: str) -> None:
    snapshot = with_server(a_snapshot(answering[:1]), 0, state=state)
    with a_lane(snapshot) as lane:
        assert ask(lane.address) == name_of(answering[0])
        assert lane.faults(1) == [""]


@pytest.mark.parametrize("state", ["unknown", "up", "draining"])
def test_one_that_is_not_away_has_nothing_to_report(answering: list[SocketAddress], state: str) -> None:
    snapshot = with_server(a_snapshot(answering[:1]), 0, state=state)
    with a_lane(snapshot) as lane:
        assert ask(lane.address) == name_of(answering[0])
        assert not lane.sightings


def test_a_session_that_the_server_broke_is_reported(listener: socket.socket) -> None:
    with a_lane(a_snapshot([listener.getsockname()])) as lane, lane.connect() as client:
        reset(accept(listener, client))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        eventually(lambda: lane.faults(1) == ["connection reset"], "it is reported")
        assert lane.count(Count.SERVER_RESETS) == [1]


def test_a_session_that_the_client_broke_is_not_reported(listener: socket.socket) -> None:
    with a_lane(a_snapshot([listener.getsockname()])) as lane:
        client = lane.connect()
        server = accept(listener, client)
        reset(client)
        with server, pytest.raises(ConnectionResetError):
            server.recv(1)
        eventually(lambda: lane.count(Count.CLIENT_RESETS) == [1], "the session has ended")
        assert not lane.sightings


def test_what_follows_an_orderly_end_is_not_reported(listener: socket.socket) -> None:
    """The server has closed; that it resets what the client still sends is TCP's way to say so."""
    with a_lane(a_snapshot([listener.getsockname()])) as lane, lane.connect() as client:
        accept(listener, client).close()
        assert client.recv(1) == b""

        def broken() -> bool:
            with suppress(BrokenPipeError, ConnectionResetError):
                client.send(b"?")
            return lane.count(Count.SERVER_RESETS) == [1]

        eventually(broken, "the server has reset it")
        assert not lane.sightings


@pytest.mark.parametrize("end", list(End))
def test_only_a_reset_by_the_server_is_its_fault(end: End) -> None:
    table = Table(1)
    row = table.row(0)
    broken: list[int] = []
    books = Books(row, Crowds(table, 0))
    books.broken = broken.append
    link = Link.make()
    snapshot = a_snapshot([("127.0.0.1", 1)])
    link.session.about = Visit(("127.0.0.1", 2), snapshot.listeners[0], snapshot.pools[0].servers[0], opened_at=0.0)
    row.add(1, Count.ACTIVE)
    books.accepted()
    books.ended(link.session, end)
    assert broken == ([1] if end is End.SERVER_RESET else [])
    link.close()
    for near in (link.session.client, link.session.server):
        near.close()
    row.release()
    table.close()


def test_a_storm_is_reported_once_in_a_while() -> None:
    sent: list[Sighting | Stalled] = []
    sightings = Sightings(sent.append)
    for _ in range(20_000):
        sightings.fault(1, "connection refused")
        sightings.accepted(1)
        sightings.fault(2, "connection reset")
        sightings.stalled(1, Finding(0.0, False, 2))
        sightings.stalled(1, Finding(0.0, True, 0))
    kinds = {kind_of(report) for report in sent}
    assert kinds == {(1, "connection refused"), (1, ""), (2, "connection reset"), (1, False), (1, True)}
    for kind in kinds:
        times = [report.at for report in sent if kind_of(report) == kind]
        least = 1.0 if kind == (1, True) else 0.1
        assert all(after - before >= least for before, after in pairwise(times))


def kind_of(report: Sighting | Stalled) -> tuple[int, str | bool]:
    return report.slot, report.fault if isinstance(report, Sighting) else report.acknowledged


def test_a_later_storm_is_reported_again(refuser: SocketAddress) -> None:
    with a_lane(a_snapshot([refuser])) as lane:

        def reported_again() -> bool:
            lane.assert_refuses()
            return len(lane.sightings) >= 3

        eventually(reported_again, "it is said again as long as it lasts")


def test_a_full_channel_is_not_waited_for() -> None:
    ours, theirs = Channel.pair(FROM_WORKER, TO_WORKER)
    try:
        taken = 0
        while theirs.offer(Sighting(1, 0.0, "connection refused")):
            taken += 1
        assert taken > 100
        assert ours.receive() == Sighting(1, 0.0, "connection refused")
        for _ in range(taken - 1):
            ours.receive()
        assert theirs.offer(Ready())
        assert ours.receive() == Ready()
        ours.close()
        assert not theirs.offer(Ready())
    finally:
        theirs.close()


def connects(address: SocketAddress) -> bool:
    socket.create_connection(address, DEADLINE).close()
    return True


def test_control_looks_at_once_at_what_a_worker_has_seen(tmp_path: Path) -> None:
    """That it has gone, and that it is back: long before the next probe is due."""
    health = Health(probe="tcp", interval=Duration(LONG), fall=1)
    with reserved() as listen, reserved() as address:
        config = a_config(listen, [address])
        pool = msgspec.structs.replace(config.pools["pool"], health=health)
        config = msgspec.structs.replace(config, pools={"pool": pool})
        with socket.create_server(address) as server, running(tmp_path, config=config) as proxy:
            eventually(lambda: proxy.servers()[0].state == "up", "it has been probed")
            server.close()
            with pytest.raises(ConnectionResetError), socket.create_connection(listen, DEADLINE) as client:
                client.recv(1)
            eventually(lambda: proxy.servers()[0].state == "down", "it has been looked for")
            with socket.create_server(address):
                # A worker that has not heard that the server is down may take it for one that is only failing.
                eventually(lambda: connects(listen) and proxy.servers()[0].state == "up", "it has been found")
