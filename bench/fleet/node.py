"""A node: its clients, and the balancer they go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fleet.session import Session
from bench.fleet.settings import ROLES, SERVERS

if TYPE_CHECKING:
    from bench.fleet.policies.policy import Balancer, Policy
    from bench.fleet.world import World


class Node:
    def __init__(self, world: World, policy: Policy) -> None:
        self.world = world
        self.conns = [0] * SERVERS
        """Established connections to each server."""
        self.sessions = [Session(self, role) for role in ROLES]
        self._unserved = len(self.sessions)
        """Clients that are not served."""
        self.balancer: Balancer = policy(self)

    def changed(self, unserved: int) -> None:
        """So many of its clients more, or fewer, are not served."""
        before, self._unserved = self._unserved, self._unserved + unserved
        if not before and self._unserved:
            self.world.tally.lost(self.world.clock.now)
        elif before and not self._unserved:
            self.world.tally.served(self.world.clock.now)
