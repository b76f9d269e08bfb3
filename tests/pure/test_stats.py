from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.reasons import ValueFault
from kubelb.stats import ROWS, SLOTS, Count, Histogram, Row, Table

LARGEST = (1 << 64) - 1
HISTOGRAMS = [value for value in vars(Count).values() if isinstance(value, Histogram)]
COUNTS = [value for name, value in vars(Count).items() if name.isupper() and isinstance(value, int)]
COUNTS += [word for histogram in HISTOGRAMS for word in (histogram.first, *histogram.counts)]
LIVE = {Count.PID, Count.WORKER, Count.SPLICING, Count.COPYING, Count.ALONE, Count.SNAPSHOT, Count.BEAT}
"""True of a living writer only."""

slots = st.integers(0, SLOTS - 1)
counts = st.sampled_from(COUNTS)


@contextmanager
def made(rows: int) -> Iterator[tuple[Table, list[Row]]]:
    table = Table(rows)
    written = [table.row(index) for index in range(rows)]
    yield table, written
    for row in written:
        row.release()
    table.close()


def test_every_count_has_a_word_of_its_own() -> None:
    assert len(set(COUNTS)) == len(COUNTS)


@settings(deadline=None)
@given(st.data(), st.sampled_from([1, 2, 3, ROWS]))
def test_readers_see_what_each_writer_wrote_and_nothing_else(data: st.DataObject, rows: int) -> None:
    places = st.tuples(st.integers(0, rows - 1), slots, counts)
    written: Counter[tuple[int, int, int]] = Counter()
    with made(rows) as (table, writers):
        for place, n in data.draw(st.lists(st.tuples(places, st.integers(0, 1 << 40)))):
            row, slot, count = place
            writers[row].add(slot, count, n)
            written[place] += n
        read = [*written, data.draw(places)]
        for row, slot, count in read:
            each = [written[index, slot, count] for index in range(rows)]
            assert table.each(slot, count) == each
            assert table.total(slot, count) == sum(each)
            assert table.latest(slot, count) == max(each)
            assert writers[row].get(slot, count) == written[row, slot, count]


@settings(deadline=None)
@given(slots)
def test_a_slot_has_room_for_all_its_words(slot: int) -> None:
    with made(3) as (table, (_, row, _)):
        for count in COUNTS:
            row.put(slot, count, count + 1)
        for count in COUNTS:
            assert table.each(slot, count) == [0, count + 1, 0]
            for other in {0, slot - 1, slot + 1} & set(range(SLOTS)) - {slot}:
                assert table.total(other, count) == 0
        row.forget(slot)
        assert {table.total(slot, count) for count in COUNTS} == {0}


@settings(deadline=None)
@given(slots, st.sampled_from(HISTOGRAMS), st.lists(st.floats(0, 1e5)), st.data())
def test_lengths_of_time_are_counted_by_their_bound(
    slot: int, histogram: Histogram, lengths: list[float], data: st.DataObject
) -> None:
    lengths += data.draw(st.lists(st.sampled_from(histogram.bounds)))
    bounds = [-1.0, *histogram.bounds, 1e9]
    with made(1) as (table, (row,)):
        for seconds in lengths:
            row.observe(slot, histogram, seconds)
        counted = [table.total(slot, word) for word in histogram.counts]
        assert counted == [sum(below < seconds <= bound for seconds in lengths) for below, bound in pairwise(bounds)]
        rounded = table.total(slot, histogram.first)
        assert rounded <= sum(lengths) * 1e6 + 1
        assert rounded >= sum(lengths) * (1 - 1e-9) * 1e6 - len(lengths) - 1


@settings(deadline=None)
@given(slots, counts, st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_put_replaces(slot: int, count: int, first: int, second: int) -> None:
    with made(2) as (table, (_, row)):
        row.put(slot, count, first)
        row.put(slot, count, second)
        assert table.each(slot, count) == [0, second]


def test_nothing_but_what_was_live_is_forgotten() -> None:
    with made(2) as (table, (dead, other)):
        for slot in (0, 7):
            for count in COUNTS:
                dead.put(slot, count, 5)
                other.put(slot, count, 1)
        dead.forget_live()
        for slot, live in ((0, LIVE | {Count.ACTIVE}), (7, {Count.ACTIVE})):
            assert {count for count in COUNTS if table.each(slot, count) != [5, 1]} == live
            assert {tuple(table.each(slot, count)) for count in live} == {(0, 1)}


@settings(deadline=None)
@given(st.lists(slots, max_size=30))
def test_a_dead_writers_live_sessions_are_forgotten_and_nothing_else(live: list[int]) -> None:
    with made(2) as (table, (dead, other)):
        for slot in live:
            for row in (dead, other):
                row.add(slot, Count.ACTIVE)
                row.add(slot, Count.OPENED)
        dead.forget_live()
        for slot in {0, *live}:
            assert table.each(slot, Count.ACTIVE) == [0, live.count(slot)]
            assert table.each(slot, Count.OPENED) == [live.count(slot)] * 2


def test_whoever_maps_the_descriptor_sees_the_same_counters() -> None:
    with made(1) as (table, (row,)), mmap.mmap(table.fd, 0) as elsewhere:
        row.add(3, Count.BYTES_UP, 77)
        with memoryview(elsewhere) as seen, seen.cast("Q") as words:
            assert words.tolist().count(77) == 1


@pytest.mark.parametrize("rows", [0, -1, ROWS + 1])
def test_more_rows_than_there_are_cannot_be_had(rows: int) -> None:
    with pytest.raises(ValueFault, match=f"{rows} rows; 1 to {ROWS}"):
        Table(rows)
