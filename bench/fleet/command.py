"""``python -m bench fleet``: read the command line, simulate, print the table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from bench.fleet.policies.catalogue import PEERS
from bench.fleet.report import markdown
from bench.fleet.results import Figures, FleetRun
from bench.fleet.scenarios import SCENARIOS
from bench.fleet.settings import ROLES, Fleet
from bench.fleet.simulate import measured
from bench.publish import publish

_DEFAULT = Fleet()
_Pair = tuple[str, str]
"""A scenario and a policy, by name: neither travels to another process."""


def main(arguments: list[str]) -> int:
    """As the exit status."""
    options = _parser().parse_args(arguments)
    nodes = options.nodes
    cores = options.cores or max(1, round(_DEFAULT.cores * nodes / _DEFAULT.nodes))
    fleet = Fleet(nodes, cores, options.seed)
    peers = [peer for peer in PEERS if not options.peer or peer.name in options.peer]
    scenarios = [one for one in SCENARIOS if not options.scenario or one.name in options.scenario]
    figures = _measure(fleet, [(one.name, peer.name) for one in scenarios for peer in peers], options.jobs)
    run = FleetRun(
        command=shlex.join(["python", "-m", "bench", "fleet", *arguments]),
        nodes=nodes,
        sessions=len(ROLES),
        cores=cores,
        seed=options.seed,
        peers={peer.name: peer.title for peer in peers},
        scenarios={one.name: one.title for one in scenarios},
        figures=figures,
    )
    publish(run, markdown(run), options.markdown, options.json)
    return 0


def _measure(fleet: Fleet, pairs: Sequence[_Pair], jobs: int) -> dict[str, dict[str, Figures]]:
    """By scenario and policy."""
    simulate = partial(_simulate, fleet)
    if jobs == 1:
        found = _told_of(map(simulate, pairs))
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            found = _told_of(pool.imap_unordered(simulate, pairs))
    by_scenario: dict[str, dict[str, Figures]] = {scenario: {} for scenario, _ in pairs}
    for scenario, peer in pairs:
        by_scenario[scenario][peer] = found[scenario, peer]
    return by_scenario


def _told_of(results: Iterable[tuple[_Pair, Figures]]) -> dict[_Pair, Figures]:
    """All of them, each with a line as it comes."""
    found: dict[_Pair, Figures] = {}
    for pair, figures in results:
        found[pair] = figures
        print(f"{', '.join(pair)}: {figures.seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def _simulate(fleet: Fleet, pair: _Pair) -> tuple[_Pair, Figures]:
    (scenario,) = [one for one in SCENARIOS if one.name == pair[0]]
    (peer,) = [one for one in PEERS if one.name == pair[1]]
    return pair, measured(fleet, peer.policy, scenario)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench fleet",
        description="Simulate what the rule of one node does to three apiservers when a whole fleet follows it.",
    )
    parser.add_argument("--nodes", type=_count, default=_DEFAULT.nodes, metavar="N", help="default: %(default)s")
    parser.add_argument("--cores", type=_count, metavar="N", help="of an apiserver; default: 32 for 5,000 nodes")
    parser.add_argument("--seed", type=int, default=_DEFAULT.seed, metavar="N", help="default: %(default)s")
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=_count, default=cpus, metavar="N", help="processes; default: one a CPU")
    names = [one.name for one in SCENARIOS]
    parser.add_argument(
        "--scenario", action="append", choices=names, metavar="NAME", help=f"only: {', '.join(names)}"
    )
    names = [one.name for one in PEERS]
    parser.add_argument("--peer", action="append", choices=names, metavar="NAME", help=f"only: {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table as printed")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return int(text)
