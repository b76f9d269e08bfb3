"""A worker that has no time for its messages: of many servers that change at once its sessions must feel nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kubelb.deadlines import USUAL
from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.stats import Table
from kubelb.supervisor.family import Family
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_WORKER, TO_WORKER, ToWorker
from kubelb.wire.messages import SnapshotChanged, Stop

pytestmark = pytest.mark.usefixtures("no_leaks")

NEWEST = 5000
SERVERS = tuple(
    Server(slot=slot, name=f"10.0.0.{slot}:6443", address=(f"10.0.0.{slot}", 6443)) for slot in range(1, 9)
)
POOL = Pool(name="pool", balance="least_conn", hash_key="", servers=SERVERS)


def a_snapshot(version: int) -> Snapshot:
    return Snapshot(version=version, listeners=(), pools=(POOL,))


class Worker:
    """Reads nothing of itself; ``process`` stands for it."""

    def __init__(self, channel: Channel[ToWorker], process: subprocess.Popen[bytes]) -> None:
        self.channel = channel
        self.process = process

    def read_all(self) -> list[ToWorker]:
        read: list[ToWorker] = []
        self.channel.settimeout(0)
        while True:
            try:
                message = self.channel.receive()
            except BlockingIOError:
                return read
            assert message is not None
            read.append(message)


@contextmanager
def a_family() -> Iterator[tuple[Family, Worker]]:
    table = Table(1)
    family = Family(table, (), USUAL)
    family.add("worker-0", 1)
    ours, theirs = Channel.pair(FROM_WORKER, TO_WORKER)
    with subprocess.Popen(["sleep", "3600"]) as process:
        family.started(family.places["worker-0"], process.pid, ours, now=0.0)
        yield family, Worker(theirs, process)
        process.kill()
    theirs.close()
    family.close()
    table.close()


def test_it_gets_the_newest_snapshot_once_it_has_room() -> None:
    with a_family() as (family, worker):
        for version in range(1, NEWEST + 1):
            family.show(a_snapshot(version), now=1.0)
        family.catch_up(now=5.0)
        assert worker.process.poll() is None, "it is not ended for that"
        seen = worker.read_all()
        family.catch_up(now=5.0)
        rest = worker.read_all()
        versions = [message.snapshot.version for message in [*seen, *rest] if isinstance(message, SnapshotChanged)]
        assert versions == sorted(set(versions))
        assert len(seen) < NEWEST == versions[-1]
        assert len(rest) == 1
        family.catch_up(now=100.0)
        assert not worker.read_all()


def test_nothing_overtakes_the_newest_snapshot() -> None:
    with a_family() as (family, worker):
        for version in range(1, NEWEST + 1):
            family.show(a_snapshot(version), now=1.0)
        family.send_workers(Stop())
        assert worker.process.poll() is None
        assert worker.read_all()[-2:] == [SnapshotChanged(a_snapshot(NEWEST)), Stop()]


def test_one_that_never_reads_is_ended() -> None:
    """It may be slow for long, as long as there is room."""
    with a_family() as (family, worker):
        rounds = 0
        while worker.process.poll() is None:
            rounds += 1
            family.show(a_snapshot(rounds), now=100.0 * rounds)
            family.catch_up(now=100.0 * rounds + 50)
            assert rounds < NEWEST
        assert rounds > 20
        assert worker.process.wait() == -9


def test_one_whose_channel_is_gone_is_left_alone() -> None:
    with a_family() as (family, worker):
        worker.channel.close()
        family.show(a_snapshot(1), now=1.0)
        family.send_workers(Stop())
        family.catch_up(now=50.0)
        family.closed(worker.process.pid)
        family.catch_up(now=100.0)
        assert worker.process.poll() is None
