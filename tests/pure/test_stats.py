from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.stats import ROWS, SLOTS, Count, Row, Table

LARGEST = (1 << 64) - 1
COUNTS = [value for name, value in vars(Count).items() if name.isupper()]

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
@given(slots, counts, st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_put_replaces(slot: int, count: int, first: int, second: int) -> None:
    with made(2) as (table, (_, row)):
        row.put(slot, count, first)
        row.put(slot, count, second)
        assert table.each(slot, count) == [0, second]


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


def test_a_count_below_zero_is_refused() -> None:
    with made(1) as (table, (row,)):
        with pytest.raises(ValueError, match="format"):
            row.add(0, Count.ACTIVE, -1)
        assert table.total(0, Count.ACTIVE) == 0


@pytest.mark.parametrize("rows", [0, -1, ROWS + 1])
def test_more_rows_than_there_are_cannot_be_had(rows: int) -> None:
    with pytest.raises(ValueError, match=f"{rows} relay threads; 1 to {ROWS}"):
        Table(rows)
