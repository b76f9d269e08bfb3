"""What has been counted, by the words that metrics have for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.control import tally as tallies
from kubelb.control.tally import ServerTally, Tally, tally
from kubelb.relay.session import End
from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.stats import Count, Histogram, Row, Table

SERVERS = tuple(Server(slot=slot, name=f"{slot}:1", address=("10.0.0.1", slot)) for slot in (4, 2, 9))
SNAPSHOT = Snapshot(
    version=1,
    listeners=(),
    pools=tuple(
        Pool(name=name, balance="hash", hash_key="$remote_addr", servers=servers)
        for name, servers in (("one", SERVERS[:2]), ("other", SERVERS[2:]))
    ),
)
BEGAN = 1.7e9
"""When the monotonic clock was 0, in Unix seconds."""


@contextmanager
def counted() -> Iterator[tuple[Table, list[Row]]]:
    table = Table(2)
    rows = [table.row(index) for index in range(2)]
    yield table, rows
    for row in rows:
        row.release()
    table.close()


def of_slot(found: Tally, slot: int) -> ServerTally:
    return dict(zip((4, 2, 9), (one for pool in found.pools for one in pool), strict=True))[slot]


WORDS = {
    "dial_failures": tallies.DIAL_FAILURES,
    "ends": tallies.ENDS,
    "results": tallies.RESULTS,
}
WHOLE_WORDS = {
    "relays": tallies.RELAYS,
    "deaths": tallies.DEATHS,
    "reloads": tallies.RELOADS,
    "turned_away": tallies.TURNED_AWAY,
}


@pytest.mark.parametrize("field", WORDS)
def test_counts_of_a_server(field: str) -> None:
    with counted() as (table, rows):
        for number, word in enumerate(WORDS[field].values(), 1):
            rows[0].add(2, word, number)
            rows[1].add(2, word, 100)
            rows[1].add(4, word)
        found = tally(SNAPSHOT, table, BEGAN)
        assert [len(pool) for pool in found.pools] == [2, 1]
        for slot, counts in ((2, range(101, 200)), (4, [1] * 9), (9, [0] * 9)):
            values: Mapping[str, int] = getattr(of_slot(found, slot), field)
            assert values == dict(zip(WORDS[field], counts, strict=False))


@pytest.mark.parametrize("field", WHOLE_WORDS)
def test_counts_of_the_whole(field: str) -> None:
    with counted() as (table, rows):
        for number, word in enumerate(WHOLE_WORDS[field].values(), 1):
            rows[0].add(0, word, number)
            rows[1].add(0, word, 10)
        assert getattr(tally(SNAPSHOT, table, BEGAN), field) == dict(
            zip(WHOLE_WORDS[field], range(11, 99), strict=False)
        )


def test_the_last_reload_is_that_of_any_process() -> None:
    with counted() as (table, rows):
        assert tally(SNAPSHOT, table, BEGAN).reloaded_at is None
        rows[1].put(0, Count.RELOADED_AT, 3 * 10**9)
        assert tally(SNAPSHOT, table, BEGAN).reloaded_at == BEGAN + 3
        rows[0].put(0, Count.RELOADED_AT, 5 * 10**9)
        assert tally(SNAPSHOT, table, BEGAN).reloaded_at == BEGAN + 5


def test_sessions_alone() -> None:
    with counted() as (table, rows):
        for row in rows:
            row.put(0, Count.ALONE, 4)
        assert tally(SNAPSHOT, table, BEGAN).alone == 8


HISTOGRAMS = {
    "dials": Count.DIAL_SECONDS,
    "sessions": Count.SESSION_SECONDS,
    "probes": Count.PROBE_SECONDS,
}


@settings(deadline=None)
@given(
    st.sampled_from(sorted(HISTOGRAMS)),
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from((4, 2, 9)), st.floats(0, 5e3)), max_size=30),
)
def test_times_are_what_was_observed(field: str, observed: list[tuple[int, int, float]]) -> None:
    histogram: Histogram = HISTOGRAMS[field]
    with counted() as (table, rows):
        for row, slot, seconds in observed:
            rows[row].observe(slot, histogram, seconds)
        found = tally(SNAPSHOT, table, BEGAN)
        for slot, number in {**dict.fromkeys((4, 2, 9), 0), **Counter(slot for _, slot, _ in observed)}.items():
            times = getattr(of_slot(found, slot), field)
            lengths = [seconds for _, where, seconds in observed if where == slot]
            assert times.count == number
            assert times.seconds == pytest.approx(sum(lengths), abs=1e-6 * (number + 1))
            assert [bound for bound, _ in times.up_to] == [*histogram.bounds, math.inf]
            for bound, count in times.up_to:
                assert count == sum(seconds <= bound for seconds in lengths)


def test_every_end_and_every_probe_that_was_answered_has_its_word() -> None:
    assert set(tallies.ENDS) == {end.word for end in End}
    assert set(tallies.RESULTS) == {"passed", "unready", "failed"}
