"""What became of a module's mutants, and how that is shown; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.mutants.mutate import Mutant

ENOUGH = 0.9
"""The share of a held module's mutants, those that are equivalent left out, that has to be killed."""


@dataclass
class Tally:
    """The mutants of one module."""

    module: str
    held: bool
    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    equivalent: int = 0
    """Listed as such, and nothing noticed them."""
    wrongly_listed: list[str] = field(default_factory=list)
    """Listed as equivalent, although the tests tell them from the module, or although they are not there."""

    @property
    def share(self) -> float:
        judged = self.killed + len(self.survivors)
        return self.killed / judged if judged else 1.0

    @property
    def passes(self) -> bool:
        return not self.wrongly_listed and (not self.held or self.share >= ENOUGH)


def tally(module: str, held: bool, results: Iterable[tuple[Mutant, bool]], listed: Collection[str]) -> Tally:
    """Count the mutants, each with whether it was killed; ``listed`` are the names of those said to be equivalent."""
    counted = Tally(module, held)
    missing = set(listed)
    for mutant, killed in results:
        missing.discard(mutant.name)
        if mutant.name in listed and not killed:
            counted.equivalent += 1
        elif mutant.name in listed:
            counted.wrongly_listed.append(f"killed: {mutant.name}")
        elif killed:
            counted.killed += 1
        else:
            counted.survivors.append(mutant)
    counted.wrongly_listed += (f"there is no such mutant: {name}" for name in sorted(missing))
    return counted


def details(counted: Tally) -> Iterator[str]:
    """A line for each survivor, and for each entry of the list that has to go."""
    for mutant in counted.survivors:
        yield f"  kubelb/{counted.module}.py:{mutant.line}: survived: {mutant.name}"
    for name in counted.wrongly_listed:
        yield f"  listed as equivalent, but {name}"


def table(tallies: Sequence[Tally]) -> Iterator[str]:
    """A line for each module, and one for all."""
    yield f"{'module':<24}{'mutants':>9}{'equivalent':>12}{'killed':>8}{'survived':>10}{'share':>8}"
    for counted in tallies:
        yield _row(counted, "" if counted.passes else "  fails")
    every = Tally("all", held=False)
    for counted in tallies:
        every.killed += counted.killed
        every.equivalent += counted.equivalent
        every.survivors += counted.survivors
    yield _row(every, "")


def _row(counted: Tally, remark: str) -> str:
    survived = len(counted.survivors)
    mutants = counted.killed + counted.equivalent + survived
    return (
        f"{counted.module:<24}{mutants:>9}{counted.equivalent:>12}{counted.killed:>8}{survived:>10}"
        f"{counted.share:>8.1%}{remark}"
    )
