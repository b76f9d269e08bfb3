"""The rounds: every scenario with every peer in turn, round after round, so that they share a slow minute.

Runs in the bench's main thread; every process and namespace is made and ended here, by context managers. Each visit
has servers, balancer and clients of its own, begun anew; only the network stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.failover.machines import clients, machines
from bench.failover.network import Network, network
from bench.failover.peers.peer import Peer, Place
from bench.failover.reading import Figure, read
from bench.failover.report import cell
from bench.failover.results import Outcome
from bench.failover.scenarios import Scenario
from bench.failover.terms import NAMES
from bench.faults import BenchFault, failed
from bench.figures import turn
from bench.harness import Note, work_directory
from bench.processes import Program
from kubelb.standin.certificates import Certificates, make

_QUICK_SETTLE_SECONDS = 4.0
_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
"""The balancer ends when the bench does, even if that is killed."""


class Rounds:
    """Measures on one network."""

    def __init__(self, net: Network, certificates: Certificates, quick: bool, note: Note) -> None:
        self._network = net
        self._certificates = certificates
        self._quick = quick
        self._note = note

    def measure(self, scenarios: Sequence[Scenario], peers: Sequence[Peer], rounds: int) -> list[Outcome]:
        """All rounds. A peer that fails in one has no figures of it, and all else goes on."""
        outcomes = [
            Outcome(scenario.name, scenario.title, scenario.figures, {peer.name: [] for peer in peers}, {})
            for scenario in scenarios
        ]
        for number in range(rounds):
            for scenario, outcome in zip(scenarios, outcomes, strict=True):
                for peer in turn(peers, number):
                    self._note(f"round {number + 1} of {rounds}: {scenario.name}, {peer.name}")
                    try:
                        figures = self._visit(scenario, peer)
                        outcome.rounds[peer.name].append(figures)
                        self._note(", ".join(f"{name}: {cell([figure])}" for name, figure in figures.items()))
                    except BenchFault as fault:
                        outcome.failures[peer.name] = str(fault)
                    except OSError as error:
                        outcome.failures[peer.name] = failed(error)
        return outcomes

    def _visit(self, scenario: Scenario, peer: Peer) -> dict[str, Figure]:
        net, authority = self._network, self._certificates.authority
        seconds = scenario.quick_seconds if self._quick else scenario.seconds
        settle = min(peer.settle_seconds, _QUICK_SETTLE_SECONDS) if self._quick else peer.settle_seconds
        with work_directory() as directory, machines(net, self._certificates, directory) as servers:
            place = Place(servers.addresses, authority, scenario.rebalances, directory)
            with _running(net.node.inside([*_WITH_US, *peer.command(place)]), directory) as program:
                with clients(net.node, scenario.load, authority, directory) as load:
                    time.sleep(settle)
                    harm = scenario.act(servers, seconds)
                    record = load.stop()
                if program.ended():
                    raise BenchFault(f"it ended: {program.log_tail()}")
        return read(scenario.figures, record, harm)


@contextmanager
def site(quick: bool, note: Note) -> Iterator[Rounds]:
    """The network, until the block ends. Raises :class:`BenchFault` where it cannot be made."""
    with work_directory() as directory, network(len(NAMES)) as net:
        addresses = [net.address(number) for number in range(len(NAMES))]
        yield Rounds(net, make(directory, *addresses), quick, note)


@contextmanager
def _running(command: list[str], directory: Path) -> Iterator[Program]:
    program = Program(command, directory / "output.log")
    try:
        yield program
    except BenchFault as fault:
        raise BenchFault(f"{fault}; {program.log_tail() or 'it printed nothing'}") from fault
    finally:
        program.stop()
