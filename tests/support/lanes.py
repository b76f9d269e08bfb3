"""A relay thread of a worker with all that belongs to it, in the test's own process: its counters are to hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from kubelb.config.model.pools import Balance
from kubelb.snapshot import Listener, Pool, Server, Snapshot, SocketAddress
from kubelb.stats import CELLS, Count, Table
from kubelb.wire.messages import Sighting, Stalled
from kubelb.worker.lane import Lane
from tests.support.deadlines import standing
from tests.support.eventually import eventually
from tests.support.identity import name_of

DEADLINE = 60.0
"""Seconds after which a client gives up waiting."""
LONG = 3600.0
"""Seconds: what is to end after so long ends otherwise in these tests."""


_NOTHING = Snapshot(version=0, listeners=(), pools=())


def a_snapshot(
    servers: Sequence[SocketAddress | Server],
    balance: Balance = "round_robin",
    connect_timeout: float = LONG,
    hedge_delay: float = LONG,
    **settings: Any,
) -> Snapshot:
    """One listener and one pool; ``settings`` are the pool's. Slots go from 1."""
    members = (
        server if isinstance(server, Server) else Server(slot=slot, name=name_of(server), address=server)
        for slot, server in enumerate(servers, 1)
    )
    pool = Pool(name="pool", balance=balance, hash_key="$remote_addr", servers=tuple(members), **settings)
    listener = Listener(address="x", pool="pool", connect_timeout=connect_timeout, hedge_delay=hedge_delay)
    return Snapshot(version=1, listeners=(listener,), pools=(pool,))


def with_listener(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """The next picture, in which the listener differs."""
    (listener,) = snapshot.listeners
    listener = msgspec.structs.replace(listener, **changes)
    return msgspec.structs.replace(snapshot, version=snapshot.version + 1, listeners=(listener,))


def with_server(snapshot: Snapshot, position: int, **changes: Any) -> Snapshot:
    """The next picture, in which one server of the pool differs."""
    (pool,) = snapshot.pools
    servers = list(pool.servers)
    servers[position] = msgspec.structs.replace(servers[position], **changes)
    pool = msgspec.structs.replace(pool, servers=tuple(servers))
    return msgspec.structs.replace(snapshot, version=snapshot.version + 1, pools=(pool,))


class RunningLane:
    def __init__(self, lane: Lane, table: Table, address: SocketAddress, reports: list[Sighting | Stalled]) -> None:
        self.lane = lane
        self.address = address
        self._reports = reports
        self._table = table

    @property
    def sightings(self) -> list[Sighting]:
        """What it has reported of dials and broken sessions."""
        return [report for report in self._reports if isinstance(report, Sighting)]

    @property
    def stalls(self) -> list[Stalled]:
        """What it has reported of sessions that wait."""
        return [report for report in self._reports if isinstance(report, Stalled)]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=DEADLINE)

    def assert_refuses(self) -> None:
        """A client is reset: no hang and no orderly end."""
        with pytest.raises(ConnectionResetError), self.connect() as client:
            client.recv(1)

    def count(self, word: int) -> list[int]:
        """Of every server, by slot from 1 on."""
        (pool,) = self.lane._snapshot.pools
        return [self._table.total(server.slot, word) for server in pool.servers]

    @property
    def clients(self) -> int:
        return self._table.total(0, Count.ACTIVE)

    @property
    def turned_away(self) -> int:
        return self.total(Count.TURNED_AWAY)

    def total(self, word: int) -> int:
        """Of the lane as a whole."""
        return self._table.total(0, word)

    def faults(self, slot: int) -> list[str]:
        return [sighting.fault for sighting in self.sightings if sighting.slot == slot]

    def run(self, call: Callable[[], None]) -> None:
        """Have its thread do this, and wait until it has."""
        done = threading.Event()
        self.lane.thread.post(call)
        self.lane.thread.post(done.set)
        assert done.wait(30)

    def deadlines(self) -> list[object]:
        """The owners of those that stand on its thread, one for each."""
        found: list[object] = []
        self.run(lambda: found.extend(standing(self.lane.thread)))
        return found

    def withdraw(self) -> None:
        """Accept nobody any more, and cut nobody."""
        self.run(self._withdraw)

    def _withdraw(self) -> None:
        if self.lane._acceptors:
            self.lane.unlisten("x", lambda: None)
        self.lane._cuts.see(_NOTHING)

    def see(self, snapshot: Snapshot) -> None:
        self.run(lambda: self.lane.see(snapshot))

    def is_quiet(self) -> bool:
        """Whether nobody is counted as connected."""
        return not self.clients and not any(self.count(Count.ACTIVE))

    @property
    def limited(self) -> int:
        """How many are counted by limits, once for each."""
        return sum(self._table.cells[1 : self._table.rows * 2 * CELLS : 2])


@contextmanager
def a_lane(snapshot: Snapshot, share: bool = True) -> Iterator[RunningLane]:
    """Within, it accepts clients. By the end they have left, or are leaving, and none may stay in the counters,
    those of limits too, nor any deadline that was theirs."""
    table = Table(2)
    row = table.row(0)
    reports: list[Sighting | Stalled] = []
    with socket.create_server(("127.0.0.1", 0), backlog=511) as listening:
        listening.setblocking(False)
        lane = Lane(table, row, snapshot, share=share, alone_cpus=None, report=reports.append)
        lane.listen("x", listening)
        thread = threading.Thread(target=lane.thread.run, name="relay")
        thread.start()
        running = RunningLane(lane, table, listening.getsockname(), reports)
        try:
            yield running
            running.withdraw()
            eventually(running.is_quiet, "nobody is counted any more")
            assert running.deadlines() == []
            assert not running.limited
        finally:
            lane.thread.stop()
            thread.join()
            lane.close()
            lane.thread.close()
            row.release()
            table.close()
