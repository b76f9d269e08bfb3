"""The command line of the mutation of pure modules. Exit status 0: enough is killed, 1: not, 2: it cannot be run."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Collection, Iterator

from tests.mutants.mutate import Mutant, mutants
from tests.mutants.report import Tally, details, table, tally
from tests.mutants.targets import HELD, Target, TargetFault, equivalents, targets
from tests.mutants.trial import QUICK, THOROUGH, Changed, RunFault, Verdict, run

_UNLIMITED = 600
"""Seconds of the CPU for tests of code that nothing is wrong with."""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    begun = time.monotonic()
    try:
        tallies = [_mutate(target) for target in targets(options.modules)]
    except (TargetFault, RunFault) as fault:
        print(fault, file=sys.stderr)
        return 2
    print(*table(tallies), sep="\n")
    print(f"{time.monotonic() - begun:.0f} s")
    return 0 if all(counted.passes for counted in tallies) else 1


def _mutate(target: Target) -> Tally:
    listed = equivalents().get(target.name, {})
    counted = tally(target.name, target.held, _results(target, listed), listed)
    print(f"{target.name}: {counted.share:.1%}", *details(counted), sep="\n", flush=True)
    return counted


def _results(target: Target, listed: Collection[str]) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant of a module with whether it was killed; who survives few examples is tried with many.

    Of those that are listed as equivalent few examples are enough, nothing is to be found there.
    """
    limits = {profile: _limit(target, profile) for profile in (QUICK, THOROUGH)}
    for mutant in mutants(target.file.read_text()):
        changed = Changed(target.module, mutant.source)
        profiles = [QUICK] if mutant.name in listed else [QUICK, THOROUGH]
        yield mutant, any(_kills(target, profile, changed, limits[profile]) for profile in profiles)


def _kills(target: Target, profile: str, changed: Changed, cpu_seconds: int) -> bool:
    return run(target.tests, profile, changed, cpu_seconds).verdict is not Verdict.SURVIVED


def _limit(target: Target, profile: str) -> int:
    """Return the seconds of the CPU that the tests get: many times what they take when nothing is wrong."""
    as_it_is = run(target.tests, profile, None, _UNLIMITED)
    if as_it_is.verdict is not Verdict.SURVIVED:
        raise RunFault(f"the tests of {target.name} fail as it is")
    return math.ceil(3 + 5 * as_it_is.cpu_seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Do the pure tests notice changes?")
    parser.add_argument("modules", nargs="*", help=f"as in balance or health/http; without any: {', '.join(HELD)}")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
