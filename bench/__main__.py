"""``python -m bench``: read the command line, measure, print the table."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import NoReturn

from bench.cases.catalogue import CASES
from bench.failover import command as failover
from bench.faults import BenchFault
from bench.fleet import command as fleet
from bench.harness import Harness, origin
from bench.machine import describe, missing_tools, raise_file_limit
from bench.peers.catalogue import BASELINE, SUBJECTS, VARIANTS
from bench.publish import publish
from bench.report import markdown
from bench.results import Run

_FULL = (7, 3)
_QUICK = (3, 1)
"""Rounds, and seconds of load a round."""


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _end)
    try:
        match arguments:
            case ["failover", *others]:
                return failover.main(others)
            case ["fleet", *others]:
                return fleet.main(others)
            case _:
                return _bench(arguments)
    except KeyboardInterrupt:
        return 130


def _bench(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if missing := missing_tools():
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 1
    raise_file_limit()
    try:
        run = _measure(options, shlex.join(["python", "-m", "bench", *arguments]))
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 1
    publish(run, markdown(run), options.markdown, options.json)
    return 1 if any(case.failures for case in run.cases) else 0


def _measure(options: argparse.Namespace, command: str) -> Run:
    rounds, seconds = _QUICK if options.quick else _FULL
    rounds, seconds = options.rounds or rounds, options.seconds or seconds
    subjects = [peer for peer in SUBJECTS if peer.name in options.variant] if options.variant else VARIANTS
    cases = [case for case in CASES if not options.case or case.name in options.case]
    with origin() as port:
        harness = Harness(port, rounds, seconds, note=lambda line: print(line, file=sys.stderr, flush=True))
        results = [harness.measure(case, [BASELINE, *subjects]) for case in cases]
    return Run(
        machine=describe(),
        command=command,
        rounds=rounds,
        seconds=seconds,
        baseline=BASELINE.name,
        subjects=tuple(peer.name for peer in subjects),
        cases=results,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure kubelb beside nginx's stream module.",
        epilog="python -m bench failover: what clients feel when servers fail. python -m bench fleet: what "
        "thousands of nodes do to three servers, simulated. Both have options of their own.",
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s: minutes, not figures to quote")
    parser.add_argument("--rounds", type=_count, metavar="N", help=f"rounds of every case; {_FULL[0]} unless told")
    parser.add_argument("--seconds", type=_count, metavar="S", help=f"load a round, seconds; {_FULL[1]} unless told")
    names = [case.name for case in CASES]
    parser.add_argument("--case", action="append", choices=names, metavar="NAME", help=f"only: {', '.join(names)}")
    names = [peer.name for peer in SUBJECTS]
    parser.add_argument("--variant", action="append", choices=names, metavar="NAME", help=f"only: {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table as printed")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1000")
    return int(text)


def _end(_number: int, _frame: object) -> NoReturn:
    """As Ctrl-C: unwind, so that every program is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
