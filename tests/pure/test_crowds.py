from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from kubelb.crowds import _SETS, _WAYS, Crowds
from kubelb.stats import Table

kinds = st.sampled_from([1, 2, 1 + _SETS, (1 << 64) - 1])
steps = st.lists(st.tuples(st.integers(0, 2), kinds, st.sampled_from(["enter", "add", "leave"])), max_size=60)


@contextmanager
def made(rows: int) -> Iterator[tuple[Table, list[Crowds]]]:
    table = Table(rows)
    try:
        yield table, [Crowds(table, row) for row in range(rows)]
    finally:
        table.close()


@given(steps, st.integers(1, 5))
def test_all_rows_count_together(steps: list[tuple[int, int, str]], most: int) -> None:
    held: Counter[tuple[int, int]] = Counter()

    def total(kind: int) -> int:
        return sum(count for (_, other), count in held.items() if other == kind)

    with made(3) as (_, rows):
        for row, kind, step in steps:
            if step == "enter":
                assert rows[row].enter(kind, most) == (total(kind) < most)
                held[row, kind] += total(kind) < most
            elif step == "add":
                assert rows[row].add(kind)
                held[row, kind] += 1
            else:
                rows[row].leave(kind)
                held[row, kind] -= held[row, kind] > 0
            assert [other.count(kind) for other in rows] == [total(kind)] * 3


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
