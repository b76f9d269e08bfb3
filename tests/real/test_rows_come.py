"""Whoever reads the shared counters copes with workers that are added in that moment."""

from __future__ import annotations

import os
import random
import time

import pytest

from kubelb.config.variables import Client
from kubelb.control.following import await_workers
from kubelb.control.processes import usages
from kubelb.control.status import status
from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.stats import Table
from kubelb.worker.place import place_of
from kubelb.worker.sightings import Sightings
from kubelb.worker.view import PoolView

pytestmark = pytest.mark.usefixtures("no_leaks")

SERVER = Server(slot=1, name="10.0.0.1:6443", address=("10.0.0.1", 6443))
POOL = Pool(name="pool", balance="least_conn", hash_key="", servers=(SERVER,))
SNAPSHOT = Snapshot(version=1, listeners=(), pools=(POOL,))


class Growing(Table):
    """A worker is added after each look."""

    def each(self, slot: int, count: int) -> list[int]:
        found = super().each(slot, count)
        self.look_at(self.rows + 1)
        return found


def test_in_control() -> None:
    table = Growing(1)
    assert await_workers(table, os.getpid(), 1, within=0.0) == ()
    assert usages(os.getpid(), table)
    assert status(SNAPSHOT, table, os.getpid(), time.monotonic_ns(), time.time()).pools[0].servers[0].active == 0
    table.close()


def test_in_a_worker() -> None:
    table = Growing(1)
    row = table.row(0)
    view = PoolView(POOL, table, row, random.Random(1), Sightings(lambda message: None), place_of(SNAPSHOT))
    view.failed(SERVER, 1.0, "refused", 35)
    client = Client(1, ("127.0.0.1", 1), ("127.0.0.1", 2), 1.0)
    assert view.pick(client, (), 1.0) == 0
    row.release()
    table.close()
