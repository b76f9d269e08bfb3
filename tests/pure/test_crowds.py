from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from kubelb.crowds import _SETS, _WAYS, Crowds
from kubelb.stats import Table

_CROWDED = [1 + number * _SETS for number in range(_WAYS + 2)]
"""Kinds of one set, more than it has room for."""
kinds = st.sampled_from([*_CROWDED, 2, (1 << 64) - 1])
steps = st.lists(
    st.tuples(st.integers(0, 1), kinds, st.sampled_from(["enter", "add", "add", "leave"])), min_size=20, max_size=120
)


@contextmanager
def made(rows: int) -> Iterator[tuple[Table, list[Crowds]]]:
    table = Table(rows)
    try:
        yield table, [Crowds(table, row) for row in range(rows)]
    finally:
        table.close()


@given(steps, st.integers(1, 5))
def test_all_rows_count_together(steps: list[tuple[int, int, str]], most: int) -> None:
    """Whatever comes and goes, and in whatever order: who finds no room is not counted, all others are, once."""
    held: Counter[tuple[int, int]] = Counter()

    def has_room(row: int, kind: int) -> bool:
        crowd = sum(1 for other in _CROWDED if held[row, other])
        return kind not in _CROWDED or bool(held[row, kind]) or crowd < _WAYS

    def total(kind: int) -> int:
        return sum(count for (_, other), count in held.items() if other == kind)

    with made(2) as (_, rows):
        for row, kind, step in steps:
            room = has_room(row, kind)
            if step == "enter":
                assert rows[row].enter(kind, most) == (room and total(kind) < most)
                held[row, kind] += room and total(kind) < most
            elif step == "add":
                assert rows[row].add(kind) == room
                held[row, kind] += room
            else:
                rows[row].leave(kind)
                held[row, kind] -= held[row, kind] > 0
            assert [other.count(kind) for other in rows] == [total(kind)] * 2


def test_a_set_that_is_full() -> None:
    with made(2) as (_, (one, other)):
        assert all(one.enter(kind * _SETS, 1) for kind in range(1, _WAYS + 1))
        late = (_WAYS + 1) * _SETS
        assert not one.enter(late, 1)
        assert not one.add(late)
        assert other.enter(late, 1)
        one.leave(_SETS)
        assert one.add(late)


def test_the_dead_hold_nobody() -> None:
    with made(2) as (table, (one, other)):
        assert one.add(7)
        assert other.add(7)
        table.forget_live(0)
        assert other.count(7) == 1
        assert one.add(7)
        assert other.count(7) == 2


def test_kinds_are_told_apart_and_are_nobody_elses() -> None:
    with made(2) as (_, (one, other)), made(1) as (_, (elsewhere,)):
        assert one.kind(b"a") == other.kind(b"a") != one.kind(b"b")
        assert elsewhere.kind(b"a") != one.kind(b"a")
