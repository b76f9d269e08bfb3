"""A client on a node and its connection, from one server to the next."""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import TYPE_CHECKING

from bench.fleet.settings import (
    BACKOFF,
    BACKOFF_FORGOTTEN,
    BACKOFF_LONGEST,
    HANDSHAKE_PATIENCE,
    PING_AFTER,
    Role,
)

if TYPE_CHECKING:
    from bench.fleet.apiserver import Apiserver
    from bench.fleet.node import Node


class Stage(Enum):
    WAITING = auto()
    """Its client dials again later."""
    DIALLING = auto()
    """The balancer looks for a server."""
    GREETING = auto()
    """TLS handshake."""
    OPENING = auto()
    """Its watches are begun again."""
    SERVED = auto()
    STRANDED = auto()
    """Its server will not answer any more, and neither side knows."""


class Session:
    """One of a node's clients. ``turn`` grows with every change, so that what was planned before does not happen."""

    def __init__(self, node: Node, role: Role) -> None:
        self.node = node
        self.role = role
        self.stage = Stage.WAITING
        self.server: Apiserver | None = None
        self.turn = 0
        self.asked_at: float | None = None
        """Since when it waits for the answer to a request."""
        self._dials = 0
        self._backoffs = 0
        self._backoff_at = -math.inf
        self._heard_at = 0.0

    def settle(self, server: Apiserver) -> None:
        """It has been served by it for long."""
        self._connect_to(server)
        self._be_served(self.turn)

    def dial(self) -> None:
        clock = self.node.world.clock
        self._go_on(Stage.DIALLING)
        self._dials += 1
        clock.at(clock.now + HANDSHAKE_PATIENCE, self._give_up, self._dials)
        self.node.balancer.dial(self)

    def connected(self, server: Apiserver) -> None:
        """The balancer has found it a server."""
        world = self.node.world
        self._connect_to(server)
        self._go_on(Stage.GREETING)
        world.count(world.tally.client_handshakes, server)
        world.clock.at(server.greeted(world.clock.now), self._greeted, self.turn, server.life)

    def rejected(self) -> None:
        """The balancer has found it none."""
        self._back_off()

    def end(self) -> None:
        """Its connection is closed, whoever did it; the client dials again after a while."""
        if self.server is not None:
            del self.server.sessions[self]
            self.node.conns[self.server.index] -= 1
            self.server = None
        if self.stage is not Stage.WAITING:
            self._back_off()

    def strand(self, now: float) -> None:
        """Its server is about to vanish. A handshake that is under way is given up by itself."""
        self._heard_at = self.heard_at(now)
        if self.stage in (Stage.SERVED, Stage.OPENING):
            self._go_on(Stage.STRANDED)
            self._plan_to_ask()
            self.node.world.clock.at(self._heard_at + PING_AFTER, self._end, self.turn)

    def heard_at(self, now: float) -> float:
        """When bytes last came from its server: watches tell at random moments, as long as it lives."""
        if self.server is not None and self.server.door == "open":
            said = now - self.node.world.rng.expovariate(self.role.hears)
            self._heard_at = max(self._heard_at, said)
        return self._heard_at

    def _connect_to(self, server: Apiserver) -> None:
        self.server = server
        server.sessions[self] = None
        self.node.conns[server.index] += 1
        self._heard_at = self.node.world.clock.now

    def _greeted(self, turn: int, life: int) -> None:
        world, server = self.node.world, self.server
        if turn != self.turn or server is None or life != server.life:
            return
        self._go_on(Stage.OPENING)
        world.clock.at(server.asked(world.clock.now, self.role.watches), self._be_served, self.turn)

    def _be_served(self, turn: int) -> None:
        if turn != self.turn:
            return
        self._heard_at = self.node.world.clock.now
        self._go_on(Stage.SERVED)
        self._plan_to_ask()

    def _plan_to_ask(self) -> None:
        if self.role.asks:
            world = self.node.world
            world.clock.at(world.clock.now + world.rng.expovariate(self.role.asks), self._ask, self.turn)

    def _ask(self, turn: int) -> None:
        if turn != self.turn or self.server is None:
            return
        world = self.node.world
        now = world.clock.now
        answered_at = self.server.asked(now)
        if self.asked_at is None:
            self.asked_at = now
        if answered_at < math.inf:
            world.clock.at(answered_at, self._answered, self.turn)
        self.node.balancer.asked(self, answered_at)
        self._plan_to_ask()

    def _answered(self, turn: int) -> None:
        if turn == self.turn:
            self._heard_at = self.node.world.clock.now
            self.asked_at = None

    def _give_up(self, dial: int) -> None:
        if dial == self._dials and self.stage in (Stage.DIALLING, Stage.GREETING):
            self.end()

    def _end(self, turn: int) -> None:
        if turn == self.turn:
            self.end()

    def _back_off(self) -> None:
        """The first of its watches to dial again brings the connection for all of them."""
        world = self.node.world
        now, rng = world.clock.now, world.rng
        self._backoffs = 0 if now - self._backoff_at > BACKOFF_FORGOTTEN else self._backoffs
        first = 1 - rng.random() ** (1 / self.role.watches)
        wait = min(BACKOFF * 2**self._backoffs, BACKOFF_LONGEST) * (1 + first)
        self._backoffs += 1
        self._backoff_at = now
        self._go_on(Stage.WAITING)
        world.clock.at(now + wait, self._redial, self.turn)

    def _redial(self, turn: int) -> None:
        if turn == self.turn:
            self.dial()

    def _go_on(self, stage: Stage) -> None:
        self.turn += 1
        was_served, self.stage = self.stage is Stage.SERVED, stage
        self.asked_at = None
        if was_served != (stage is Stage.SERVED):
            self.node.changed(+1 if was_served else -1)
