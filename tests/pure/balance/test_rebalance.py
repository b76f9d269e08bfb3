from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.balance.eligible import eligible
from kubelb.balance.least_conn import LeastConn
from kubelb.balance.rebalance import Closing, best, by_row, level, move_back
from kubelb.snapshot import Server
from tests.pure.balance.pools import a_server, seeds

_RNG = random.Random(0)
thresholds = st.sampled_from([0.0, 0.05, 0.2, 0.5, 2.0])
limits = st.sampled_from([1, 2, 5, 100])


@st.composite
def loaded(draw: st.DrawFn, heaviest: int = 9, limited: bool = True) -> tuple[list[Server], list[int]]:
    """Usable servers of one kind and their live sessions; their slots are their positions."""
    servers, conns = [], []
    for number in range(draw(st.integers(1, 6))):
        conns.append(draw(st.integers(0, 40)))
        # A limit may have been lowered below what is there.
        most = draw(st.sampled_from([0, 0, 1, 10, 30])) if limited else 0
        servers.append(a_server(number, weight=draw(st.integers(1, heaviest)), max_conns=most))
    return servers, conns


class Run:
    """Clients whose sessions are closed and who dial again, through the selector, until nothing more is closed."""

    def __init__(self, servers: Sequence[Server], conns: Sequence[int], threshold: float, at_most: int) -> None:
        self.servers, self.threshold, self.at_most = servers, threshold, at_most
        self.conns = list(conns)
        self.moves: list[tuple[int, int]] = []
        self._selector = LeastConn(servers)

    def rounds(self) -> Iterator[Closing]:
        while closing := level(self.servers, self.conns, self.threshold, self.at_most):
            self.conns[closing.slot] -= closing.sessions
            yield closing
            for _ in range(closing.sessions):
                self.moves.append((closing.slot, self._dial()))

    def _dial(self) -> int:
        choice = eligible(self.servers, self.conns, (), ())
        position = self._selector.pick(choice, self.conns, b"", _RNG)
        self.conns[position] += 1
        return position

    def to_the_end(self) -> list[int]:
        for _ in self.rounds():
            assert len(self.moves) <= sum(self.conns)
        return self.conns

    def load(self, position: int) -> float:
        return self.conns[position] / self.servers[position].weight


def equal(*max_conns: int) -> list[Server]:
    return [a_server(number, max_conns=most) for number, most in enumerate(max_conns)]


@given(loaded(), thresholds, limits)
def test_it_comes_to_an_end_and_nothing_goes_to_and_fro(
    pool: tuple[list[Server], list[int]], threshold: float, at_most: int
) -> None:
    run = Run(*pool, threshold, at_most)
    run.to_the_end()
    givers, takers = {giver for giver, _ in run.moves}, {taker for _, taker in run.moves}
    assert not givers & takers
    assert sum(run.conns) == sum(pool[1])


@given(loaded(), thresholds, limits)
def test_no_more_is_closed_than_needed(pool: tuple[list[Server], list[int]], threshold: float, at_most: int) -> None:
    """Who gives sessions is, without them, still loaded more than the emptiest, and as much once all have dialled."""
    run = Run(*pool, threshold, at_most)
    for closing in run.rounds():
        assert 1 <= closing.sessions <= at_most
        open_to_all = eligible(run.servers, run.conns, (), ())
        assert run.load(closing.slot) > min(run.load(position) for position in open_to_all)


@given(loaded(heaviest=1, limited=False), thresholds, limits)
def test_nobody_gives_more_than_what_is_above_the_fair_share(
    pool: tuple[list[Server], list[int]], threshold: float, at_most: int
) -> None:
    run = Run(*pool, threshold, at_most)
    share = sum(run.conns) // len(run.conns)
    for closing in run.rounds():
        assert run.conns[closing.slot] >= share


@given(loaded(heaviest=1, limited=False), thresholds, limits)
def test_equal_servers_end_within_the_threshold(
    pool: tuple[list[Server], list[int]], threshold: float, at_most: int
) -> None:
    """Or as close together as whole sessions can be."""
    conns = Run(*pool, threshold, at_most).to_the_end()
    assert max(conns) - min(conns) <= max(1, threshold * sum(conns) / len(conns))


@given(loaded(limited=False), thresholds, limits)
def test_servers_of_any_weight_end_within_the_threshold(
    pool: tuple[list[Server], list[int]], threshold: float, at_most: int
) -> None:
    """Or one more session would load the emptiest no less than the fullest is loaded without it."""
    run = Run(*pool, threshold, at_most)
    run.to_the_end()
    positions = range(len(run.servers))
    emptiest = min(positions, key=run.load)
    spread = max(map(run.load, positions)) - run.load(emptiest)
    mean = sum(run.conns) / sum(server.weight for server in run.servers)
    one_less = [run.load(position) - 1 / run.servers[position].weight for position in positions]
    assert spread <= threshold * mean or max(one_less) <= run.load(emptiest) + 1 / run.servers[emptiest].weight


@given(loaded(), st.floats(0, 1), limits)
def test_a_pool_within_the_threshold_stays_untouched(
    pool: tuple[list[Server], list[int]], threshold: float, at_most: int
) -> None:
    servers, conns = pool
    loads = [count / server.weight for server, count in zip(servers, conns, strict=True)]
    mean = sum(conns) / sum(server.weight for server in servers)
    if max(loads) - min(loads) <= threshold * mean:
        assert level(servers, conns, threshold, at_most) is None


@given(loaded(limited=False), limits)
def test_what_least_conn_has_dealt_out_stays_untouched(pool: tuple[list[Server], list[int]], at_most: int) -> None:
    """Even without a threshold: it would deal them out the same again."""
    servers, conns = pool
    dealt, selector = [0] * len(servers), LeastConn(servers)
    for _ in range(sum(conns)):
        dealt[selector.pick(range(len(servers)), dealt, b"", _RNG)] += 1
    assert level(servers, dealt, 0.0, at_most) is None


@pytest.mark.parametrize("at_most", [1, 3, 100])
def test_a_server_that_came_back(at_most: int) -> None:
    conns = Run(equal(0, 0, 0), [30, 0, 30], 0.2, at_most).to_the_end()
    assert sum(conns) == 60
    assert max(conns) - min(conns) <= 0.2 * 20


def test_one_session_too_many_on_each_of_many_servers_is_seen() -> None:
    """Nobody is a whole session above the mean."""
    assert Run(equal(*[0] * 20), [*[10] * 19, 0], 0.2, 1).to_the_end()[-1] >= 8


def test_as_many_as_it_has_to_give_in_one_round() -> None:
    assert level(equal(0, 0), [30, 0], 0.0, 100) == Closing(slot=0, sessions=15)
    assert level(equal(0, 0), [30, 0], 0.0, 4) == Closing(slot=0, sessions=4)
    assert level(equal(0, 0), [30, 10], 0.2, 100) == Closing(slot=0, sessions=8)


@pytest.mark.parametrize("conns", [[], [50]])
def test_nothing_with_fewer_than_two_servers(conns: list[int]) -> None:
    assert level(equal(*[0] * len(conns)), conns, 0.0, 10) is None


def test_a_client_that_would_come_straight_back_is_left_alone() -> None:
    """Without its only session the light server would be the emptiest."""
    assert level([a_server(0, weight=1), a_server(1, weight=10)], [1, 2], 0.0, 1) is None


def test_an_exchange_that_would_take_loads_no_closer_together_is_left_out() -> None:
    """With a weight of nine the sum of conns² / weight stays as it is, with ten it would grow."""
    for weight in (10, 9):
        assert level([a_server(0, weight=weight), a_server(1, weight=1)], [5, 0], 0.0, 1) is None
    assert level([a_server(0, weight=8), a_server(1, weight=1)], [5, 0], 0.0, 1) == Closing(slot=0, sessions=1)


def test_one_that_has_max_conns_sessions_takes_none() -> None:
    assert level(equal(0, 0, 5), [30, 30, 5], 0.0, 10) is None
    assert level(equal(0, 0, 5), [31, 30, 4], 0.0, 10) == Closing(slot=0, sessions=1)
    assert level(equal(3, 3), [9, 3], 0.0, 10) is None


KINDS = [a_server(0), a_server(1, tier=1), a_server(2, tier=2), a_server(3, backup=True), a_server(4, tier=1)]


def test_primaries_are_better_than_backups_and_a_lower_tier_than_a_higher() -> None:
    assert best(KINDS) == [0]
    assert best(KINDS[1:]) == [0, 3]
    assert best([KINDS[2], KINDS[3]]) == [0]
    assert best([KINDS[3]]) == [0]
    assert best([]) == []


def test_sessions_move_back_from_the_worst_kind_first() -> None:
    conns = [9, 5, 5, 5, 6]
    left = []
    while closing := move_back(KINDS, conns, at_most=4):
        left.append(closing)
        conns[closing.slot] -= closing.sessions
    assert left == [(3, 4), (3, 1), (2, 4), (2, 1), (4, 4), (1, 4), (4, 2), (1, 1)]
    assert conns == [9, 0, 0, 0, 0]


def test_nobody_moves_back_to_where_there_is_no_room() -> None:
    first, second, third = a_server(0, max_conns=3), a_server(1, max_conns=5), a_server(2, tier=1)
    assert move_back([first, second, third], [9, 4, 7], at_most=3) == Closing(slot=2, sessions=1)
    assert move_back([first, second, third], [3, 5, 7], at_most=3) is None
    assert move_back([first, a_server(1), third], [3, 5, 7], at_most=3) == Closing(slot=2, sessions=3)


@pytest.mark.parametrize("servers", [[], KINDS[:1], [KINDS[1], KINDS[4]]])
def test_nothing_moves_back_where_all_are_of_one_kind(servers: list[Server]) -> None:
    assert move_back(servers, [5] * len(servers), at_most=3) is None


@given(st.lists(st.integers(0, 20), min_size=1, max_size=65), st.integers(0, 30), seeds)
@example([0, 0], 3, random.Random(0))
def test_rows_close_what_they_have_and_all_of_it_together(
    sessions: list[int], count: int, rng: random.Random
) -> None:
    counts = by_row(count, sessions, rng)
    assert len(counts) == len(sessions)
    assert all(0 <= some <= there for some, there in zip(counts, sessions, strict=True))
    assert sum(counts) == min(count, sum(sessions))


def test_every_session_has_its_chance() -> None:
    rng, asked = random.Random(0), Counter[int]()
    for _ in range(1000):
        asked.update({by_row(1, [30, 10, 0], rng).index(1): 1})
    assert asked[2] == 0
    assert 700 < asked[0] < 800
