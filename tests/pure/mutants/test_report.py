from __future__ import annotations

import pytest

from tests.mutants.mutate import Mutant
from tests.mutants.report import Tally, details, table, tally


def results(killed: int, survived: int) -> list[tuple[Mutant, bool]]:
    return [
        *((Mutant(f"killed {number}", 1, ""), True) for number in range(killed)),
        *((Mutant(f"survivor {number}", 9, ""), False) for number in range(survived)),
    ]


@pytest.mark.parametrize(
    ("killed", "survived", "held", "passes"),
    [(9, 1, True, True), (8, 1, True, False), (8, 1, False, True), (0, 0, True, True)],
)
def test_nine_tenths_of_a_held_module_have_to_be_killed(killed: int, survived: int, held: bool, passes: bool) -> None:
    counted = tally("a/b", held, results(killed, survived), ())
    assert (counted.killed, len(counted.survivors), counted.passes) == (killed, survived, passes)


def test_what_is_listed_as_equivalent_counts_neither_way() -> None:
    counted = tally("a/b", True, results(1, 2), {"survivor 0", "survivor 1"})
    assert (counted.killed, counted.equivalent, counted.share, counted.passes) == (1, 2, 1.0, True)
    assert list(details(counted)) == []


def test_a_list_that_is_wrong_is_told_and_fails() -> None:
    for listed, told in (("killed 0", "killed: killed 0"), ("gone", "there is no such mutant: gone")):
        counted = tally("a/b", False, results(2, 0), {listed})
        assert list(details(counted)) == [f"  listed as equivalent, but {told}"]
        assert not counted.passes


def test_survivors_are_told_with_their_lines() -> None:
    assert list(details(tally("a/b", True, results(1, 1), ()))) == ["  kubelb/a/b.py:9: survived: survivor 0"]


def test_the_table_ends_with_all_together() -> None:
    tallies = [tally("a/b", True, results(3, 1), {"survivor 0"}), tally("c/d", True, results(1, 4), ())]
    head, first, second, together = (line.split() for line in table(tallies))
    assert head == ["module", "mutants", "equivalent", "killed", "survived", "share"]
    assert first == ["a/b", "4", "1", "3", "0", "100.0%"]
    assert second == ["c/d", "5", "0", "1", "4", "20.0%", "fails"]
    assert together == ["all", "9", "1", "4", "4", "50.0%"]


def test_a_module_without_mutants_has_nothing_to_be_killed() -> None:
    assert Tally("a/b", held=True).share == 1.0
