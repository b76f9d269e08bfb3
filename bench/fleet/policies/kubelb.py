"""kubelb as it is: what its control process and its relay threads decide is decided by their own code.

Evidence goes through :mod:`kubelb.health.machine`, the servers' states and the cuts through
:mod:`kubelb.control.decide`, the next look through :mod:`kubelb.health.schedule`, the choice of a server through
:mod:`kubelb.balance`. What is simulated is their edge: sockets, TCP, and the passing on of
:mod:`kubelb.control.keeper`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bench.fleet.policies.orders import Order
from bench.fleet.policies.policy import Balancer
from bench.fleet.policies.stalls import Stalls
from bench.fleet.policies.watch import Watch
from bench.fleet.settings import ROUND_TRIP, SERVERS
from kubelb.balance.eligible import eligible
from kubelb.balance.least_conn import LeastConn
from kubelb.balance.ramp import ramped
from kubelb.config.model import pools as configured
from kubelb.control.decide import decide
from kubelb.health.machine import Evidence, Kind, Rules, Signs, after, is_crowd, noted
from kubelb.snapshot import Condition, Pool, Server, Snapshot

if TYPE_CHECKING:
    from bench.fleet.apiserver import Apiserver
    from bench.fleet.node import Node
    from bench.fleet.session import Session

_POOL = "kube-apiserver"
_HEDGE = 0.25
_RARELY = 2
"""Intervals of probes between two looks for which there is no other reason than that a session waits."""


def _snapshot(health: configured.Health) -> Snapshot:
    servers = tuple(
        Server(slot=slot, name=f"10.0.0.{slot}:6443", address=(f"10.0.0.{slot}", 6443))
        for slot in range(1, SERVERS + 1)
    )
    pool = Pool(
        name=_POOL,
        balance="least_conn",
        hash_key="",
        servers=servers,
        slow_start=health.slow_start,
        reset_spread=health.reset_spread,
    )
    return Snapshot(version=1, listeners=(), pools=(pool,))


class Kubelb(Balancer):
    def __init__(self, node: Node, health: configured.Health) -> None:
        super().__init__(node)
        self.snapshot = _snapshot(health)
        self._health = health
        self._settings = {_POOL: configured.Pool(servers=(), health=health)}
        self.conditions = dict.fromkeys(range(1, SERVERS + 1), Condition())
        self.acked_at = [-math.inf] * SERVERS
        """When TCP last showed a packet of each server to a relay thread."""
        self._selector = LeastConn(self.snapshot.pools[0].servers)
        self._look_again = [0.0] * SERVERS
        self._readiness_seen = False
        self._watches = [
            Watch(self.world, server, health, partial(self._told, server.index)) for server in self.world.servers
        ]
        self._orders: dict[int, Order] = {}
        self._stalls = Stalls(self)

    def start(self) -> None:
        for index, watch in enumerate(self._watches):
            watch.start(self._told(index, Kind.PASSED, self.clock.now), self.rng.random() * self._health.interval)

    # As the keeper does it.

    def _told(self, index: int, kind: Kind, begun: float) -> Condition:
        now = self.clock.now
        return self._consider(index, Evidence(kind, now, kind.name, begun))

    def unacknowledged(self, index: int, since: float, retransmissions: int) -> None:
        """A relay thread tells that what a session has sent is not acknowledged."""
        evidence = Evidence(Kind.UNACKNOWLEDGED, self.clock.now, "not acknowledged", since, retransmissions)
        self._consider(index, evidence)
        self._watches[index].hurry()

    def unheard(self, index: int, since: float) -> None:
        """A relay thread tells that a session waits for an answer."""
        now = self.clock.now
        if self._health.probe != "off" and now >= self._look_again[index]:
            self._look_again[index] = now + _RARELY * self._health.interval
            self._consider(index, Evidence(Kind.UNHEARD, now, "a session waits", since))
            self._watches[index].hurry()

    def _consider(self, index: int, evidence: Evidence) -> Condition:
        slot = index + 1
        before = self.conditions[slot] = noted(self.conditions[slot], self._signs(index))
        others = [known for other, known in self.conditions.items() if other != slot]
        rules = Rules(
            rise=self._health.rise,
            fall=self._health.fall,
            timeout=self._health.timeout,
            crowd=is_crowd(others),
            asks_readiness=self._health.probe == "https",
            readiness_seen=self._readiness_seen,
        )
        condition = self.conditions[slot] = after(before, evidence, rules)
        self._readiness_seen |= evidence.kind is Kind.PASSED and rules.asks_readiness
        self._decide()
        if _is_in_trouble(before) != _is_in_trouble(condition):
            for other, watch in enumerate(self._watches):
                if other != index:
                    watch.hurry(anew=False)
        return condition

    def _decide(self) -> None:
        for index in range(SERVERS):
            slot = index + 1
            self.conditions[slot] = noted(self.conditions[slot], self._signs(index))
        before, self.snapshot = self.snapshot, decide(self.snapshot, self.conditions, self._settings, self.clock.now)
        if self.snapshot.version != before.version:
            self._see()

    def _signs(self, index: int) -> Signs:
        now = self.clock.now
        heard = max((session.heard_at(now) for session in self.on(index)), default=-math.inf)
        return Signs(heard, max(heard, self.acked_at[index]))

    def on(self, index: int) -> list[Session]:
        """Its sessions with a server."""
        server = self.server(index)
        return [session for session in self.node.sessions if session.server is server]

    # As the relay threads do it.

    def _see(self) -> None:
        """Go by the orders to cut in the newest snapshot."""
        for index, server in enumerate(self.snapshot.pools[0].servers):
            order = self._orders.get(index)
            if order is not None and order.cut_at != server.cut_at:
                self._orders.pop(index).stands = False
            if server.cut_at is not None and index not in self._orders:
                self._orders[index] = Order(self, index, server, self._health.reset_spread)

    def asked(self, session: Session, answered_at: float) -> None:
        self._stalls.asked(session, answered_at)

    def vanished(self, server: Apiserver) -> None:
        self._stalls.vanished(server)

    def dial(self, session: Session) -> None:
        self._try(session, session.turn, ())

    def _try(self, session: Session, turn: int, tried: tuple[int, ...]) -> None:
        """Another server is tried at once after one that refuses, and beside one that does not answer soon."""
        if session.turn != turn:
            return
        pool, now, conns = self.snapshot.pools[0], self.clock.now, self.node.conns
        among = eligible(pool.servers, conns, (), tried)
        if not among:
            session.rejected()
            return
        index = self._selector.pick(ramped(pool, among, now, self.rng), conns, b"", self.rng)
        after = now + (_HEDGE if self.server(index).door == "silent" else ROUND_TRIP)
        self.clock.at(after, self._connect, session, turn, (*tried, index))

    def _connect(self, session: Session, turn: int, tried: tuple[int, ...]) -> None:
        server = self.server(tried[-1])
        if session.turn != turn:
            return
        if server.door == "open":
            session.connected(server)
            return
        if server.door == "refuses" and self._health.probe != "off":
            self._consider(server.index, Evidence(Kind.DOUBT, self.clock.now, "refused"))
            self._watches[server.index].hurry()
        self._try(session, turn, tried)


def _is_in_trouble(condition: Condition) -> bool:
    return condition.harm_from is not None or condition.unacked_since is not None


def running(health: configured.Health) -> Callable[[Node], Kubelb]:
    return lambda node: Kubelb(node, health)
