"""Places on servers with ``max_conns`` when several workers want the last one.

A pick looks at the counters, chooses by chance, and claims; what other workers do at that moment is done whenever it
asks for a random number.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.model.pools import Balance
from kubelb.config.variables import Client, Worker
from kubelb.snapshot import Pool, Server
from kubelb.stats import Count, Table
from kubelb.worker.sightings import Sightings
from kubelb.worker.view import PoolView

CLIENTS = [Client(1, (f"10.0.0.{number}", 50001), ("10.0.0.1", 6443)) for number in range(1, 30)]
NOW = 100.0
BALANCES: tuple[Balance, ...] = ("round_robin", "least_conn", "random_two", "hash")


class Meanwhile(random.Random):
    """Whenever it is asked, something else happens first, as long as there is something to do."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.calls: list[Callable[[], object]] = []
        self.asked = 0

    def random(self) -> float:
        self.asked += 1
        assert self.asked < 10_000, "a pick comes to an end"
        if self.calls:
            self.calls.pop(0)()
        return super().random()


class WorkerSide:
    """The view of a pool that one worker has, and the places it holds."""

    def __init__(self, pool: Pool, table: Table, row: int) -> None:
        self.rng = Meanwhile(row)
        self.row = table.row(row)
        self.view = PoolView(pool, table, self.row, self.rng, Sightings(lambda sighting: None), Worker("", 0))
        self.held: list[int] = []
        """Positions of servers."""

    def come(self, who: Client = CLIENTS[0]) -> int | None:
        """A client, which is taken to the server that is returned."""
        position = self.view.pick(who, (), NOW)
        if position is not None:
            self.held.append(position)
        return position

    def go(self) -> None:
        """The client that came first, if any."""
        if self.held:
            self.view.release(self.view.pool.servers[self.held.pop(0)])


class Rig:
    """Several workers with the same pool: one server for each number, which is its ``max_conns``.

    The last server has weight 1, and each other one more than the next.
    With a ``slow_start`` all of them have just come back, so that every pick throws dice, whatever the balance.
    """

    def __init__(self, table: Table, balance: Balance, max_conns: list[int], slow_start: float) -> None:
        self._table = table
        self.servers = tuple(
            Server(
                slot=slot,
                name=str(slot),
                address=("127.0.0.1", slot),
                weight=1 + len(max_conns) - slot,
                max_conns=most,
                ramp_from=NOW - 50,
            )
            for slot, most in enumerate(max_conns, 1)
        )
        pool = Pool(
            name="pool", balance=balance, hash_key="$remote_addr", servers=self.servers, slow_start=slow_start
        )
        self.workers = [WorkerSide(pool, table, row) for row in range(3)]

    def taken(self) -> list[int]:
        """Places in the counters, by server."""
        return [self._table.total(server.slot, Count.ACTIVE) for server in self.servers]

    def held(self) -> list[int]:
        """Those that somebody has."""
        held = Counter(position for worker in self.workers for position in worker.held)
        return [held[position] for position in range(len(self.servers))]


@contextmanager
def a_rig(balance: Balance, max_conns: list[int], slow_start: float = NOW) -> Iterator[Rig]:
    table = Table(3)
    rig = Rig(table, balance, max_conns, slow_start)
    try:
        yield rig
    finally:
        for worker in rig.workers:
            worker.row.release()
        table.close()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("balance", BALANCES)
def test_who_loses_the_last_place_gets_one_elsewhere_and_leaves_no_trace(balance: Balance, first: int) -> None:
    """Whichever of the two servers it is, and however late."""
    with a_rig(balance, [1, 1]) as rig:
        one, other, _ = rig.workers
        positions: list[int | None] = []
        one.rng.calls = [*[lambda: None] * first, lambda: positions.append(other.come())]
        positions.append(one.come())
        assert set(positions) == {0, 1}
        assert rig.taken() == rig.held() == [1, 1]


@pytest.mark.parametrize("balance", BALANCES)
def test_who_finds_all_places_taken_meanwhile_gets_none(balance: Balance) -> None:
    with a_rig(balance, [1, 1]) as rig:
        one, *others = rig.workers
        one.rng.calls = [other.come for other in others]
        assert one.come() is None
        assert rig.taken() == rig.held() == [1, 1]
        others[0].go()
        assert one.come() is not None


@pytest.mark.parametrize("others", [[0, 0, 0], [99, 0, 99], [99, 99, 99]], ids=["free", "some", "limited"])
@pytest.mark.parametrize("balance", BALANCES)
def test_one_that_is_full_is_as_if_it_were_not_there(balance: Balance, others: list[int]) -> None:
    """It takes no turn of the others, and none is looked for in vain; ``others`` have room enough."""
    with a_rig(balance, [1, *others], slow_start=0) as full, a_rig(balance, others, slow_start=0) as without:
        full.workers[1].row.add(1, Count.ACTIVE)
        picked = [full.workers[0].come(who) for who in CLIENTS]
        if balance == "hash":
            # Where a key leads depends on how many there are.
            assert set(picked) == {1, 2, 3}
        else:
            expected = [without.workers[0].come(who) for who in CLIENTS]
            assert picked == [position + 1 for position in expected if position is not None]
        assert full.taken()[0] == 1


steps = st.lists(
    st.tuples(st.integers(0, 2), st.booleans(), st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=5)),
    max_size=30,
)
"""A worker, whether a client comes or goes there, and what happens elsewhere meanwhile."""


@given(st.sampled_from(BALANCES), st.lists(st.integers(0, 3), min_size=1, max_size=4), steps)
def test_no_place_is_lost_or_given_twice(
    balance: Balance, max_conns: list[int], steps: list[tuple[int, bool, list[tuple[int, bool]]]]
) -> None:
    """0 is no limit: where a server has none, everybody gets one. Without a race the last place is given."""
    with a_rig(balance, max_conns) as rig:
        for number, comes, meanwhile in steps:
            worker = rig.workers[number]
            worker.rng.calls = [
                rig.workers[other].come if comes_too else rig.workers[other].go
                for other, comes_too in meanwhile
                if other != number
            ]
            raced, full = bool(worker.rng.calls), all(0 < most <= taken for most, taken in pairs(rig))
            if not comes:
                worker.go()
            elif worker.come() is None:
                assert 0 not in max_conns
                assert raced or full
            worker.rng.calls = []
            assert rig.taken() == rig.held()
            assert all(not most or taken <= most for most, taken in pairs(rig))


def pairs(rig: Rig) -> Iterator[tuple[int, int]]:
    """What each server may have, and what it has."""
    return zip((server.max_conns for server in rig.servers), rig.taken(), strict=True)
