"""What a new control process makes of the picture that it is given."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kubelb.control.keeper import Keeper
from kubelb.control.loop import Loop
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Table
from tests.support.lanes import a_snapshot, with_server

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(1)
    yield table
    table.close()


def test_sessions_of_a_pool_that_is_leaving_keep_the_time_they_were_given(loop: Loop, table: Table) -> None:
    """Nobody has its settings any more."""
    row = table.row(0)
    row.add(1, Count.ACTIVE)
    given = time.monotonic() + 3600
    leaving = with_server(a_snapshot([("127.0.0.1", 1)]), 0, removed=True, cut_at=given)
    published: list[Snapshot] = []
    keeper = Keeper(loop, leaving, {}, table, row, published.append)
    keeper.start()
    assert [server.cut_at for one in published for pool in one.pools for server in pool.servers] == [given]
    keeper.stop()
    row.release()
