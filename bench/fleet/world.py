"""All of a simulation: servers, nodes, clock, and what is counted. One seed makes one course of events."""

from __future__ import annotations

import random
from collections import Counter

from bench.fleet.apiserver import Apiserver
from bench.fleet.clock import Clock
from bench.fleet.node import Node
from bench.fleet.policies.policy import Policy
from bench.fleet.session import Session
from bench.fleet.settings import SERVERS, Fleet
from bench.fleet.tally import Tally


class World:
    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self.fleet = fleet
        self.clock = Clock()
        self.rng = random.Random(fleet.seed)
        self.tally = Tally(fleet.nodes)
        # What everybody else asks for is the same for all policies.
        self.servers = [
            Apiserver(index, fleet.cores, random.Random(f"{fleet.seed} {index}")) for index in range(SERVERS)
        ]
        for _ in range(fleet.nodes):
            self.tally.lost(0.0)
        self.nodes = [Node(self, policy) for _ in range(fleet.nodes)]
        for node in self.nodes:
            for session in node.sessions:
                session.settle(self.servers[node.balancer.first()])
            node.balancer.start()

    def count(self, counts: Counter[tuple[int, int]], server: Apiserver) -> None:
        counts[server.index, int(self.clock.now)] += 1

    def probed(self, server: Apiserver, anew: bool) -> None:
        """A node asks it how it is, on a new connection or not; one that is away is not asked anything by that."""
        if server.door == "open":
            self.count(self.tally.probes, server)
            if anew:
                self.count(self.tally.probe_handshakes, server)

    def cut(self, session: Session) -> None:
        """A balancer ends it."""
        assert session.server is not None
        self.tally.cuts += 1
        self.tally.needless += session.server.door == "open"
        session.end()

    def vanish(self, server: Apiserver) -> None:
        """Its machine loses power."""
        sessions = list(server.sessions)
        for session in sessions:
            session.strand(self.clock.now)
        server.vanish()
        for node in dict.fromkeys(session.node for session in sessions):
            node.balancer.vanished(server)

    def stop(self, server: Apiserver) -> None:
        """It ends and closes its connections, as kube-apiserver does once its delay is over."""
        server.stop()
        for session in list(server.sessions):
            session.end()
        for node in self.nodes:
            node.balancer.stopped(server)
