"""The soak's command line: run it, show how it goes, report. Exit status 0: passed, 1: there are findings."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

from tests.soak.campaign import Campaign, Outcome
from tests.soak.holdings import MARK, processes
from tests.soak.report import report
from tests.support.debian import needing
from tests.support.load.records import Plan
from tests.support.load.stage import a_stage

_SWITCH = 1e-4
"""Seconds."""
_ROUND = 25.0
"""Seconds of a round, if there are enough of them."""
_ROUNDS = 6
"""At least, for a first and a last third."""


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _end)
    # The load's thread gives the interpreter away at each system call, and is to have it back at once: what it waits
    # for otherwise would be taken for the proxy's.
    sys.setswitchinterval(_SWITCH)
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {options.minutes:g} minutes", flush=True)
    try:
        outcome = _soak(options.minutes * 60, seed, options.idle, options.workers, not options.no_probes)
    except KeyboardInterrupt:
        return 130
    return 1 if outcome.journal.findings else 0


def _soak(seconds: float, seed: int, idle: int, workers: int, probed: bool) -> Outcome:
    mark = uuid.uuid4().hex
    rounds = max(_ROUNDS, round(seconds / _ROUND))
    plan = Plan(idle=idle, seed=seed)
    with (
        needing(frozenset({"iproute2", "strace"})),
        tempfile.TemporaryDirectory(prefix="kubelb-soak-") as directory,
        a_stage(Path(directory), plan, environment={MARK: mark}, probed=probed, workers=workers) as stage,
    ):
        try:
            outcome = Campaign(stage, mark, seed, _say).run(seconds, rounds)
            print(report(outcome), flush=True)
            return outcome
        except BaseException:
            # Cut off in the middle of something, perhaps an upgrade: no one of them is who leads the others out.
            for process in processes(mark):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            raise


def _end(_number: int, _frame: object) -> NoReturn:
    """As Ctrl-C: unwind, so that the proxy is ended."""
    raise KeyboardInterrupt


def _say(line: str) -> None:
    """On a terminal in place of the line before."""
    end = "\x1b[K\r" if sys.stdout.isatty() else "\n"
    print(line, end=end, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long, 10 unless told")
    parser.add_argument("--seed", type=int, help="of an earlier soak, to have the same things happen again")
    parser.add_argument("--idle", type=int, default=1000, help="idle sessions, 1000 unless told")
    parser.add_argument("--no-probes", action="store_true", help="servers are not probed")
    parser.add_argument("--workers", type=int, default=2, help="of the proxy, 2 unless told")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
