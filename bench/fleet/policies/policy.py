"""What a simulated balancer is asked for, and what most of them do alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.fleet.settings import ROUND_TRIP

if TYPE_CHECKING:
    from bench.fleet.apiserver import Apiserver
    from bench.fleet.node import Node
    from bench.fleet.session import Session


class Balancer:
    """One node's. ``dial`` has to come to ``session.connected`` or ``session.rejected``, unless the client has given
    up meanwhile, which shows in ``session.turn``."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.world = node.world
        self.clock = node.world.clock
        self.rng = node.world.rng

    def first(self) -> int:
        """The server of the next of its sessions, before the simulation begins."""
        return self.least([0, 1, 2], self.node.conns)

    def start(self) -> None:
        """Begin to probe, if it does."""

    def dial(self, session: Session) -> None:
        raise NotImplementedError

    def asked(self, session: Session, answered_at: float) -> None:
        """One of its sessions has asked its server something; infinity: it will not be answered."""

    def vanished(self, server: Apiserver) -> None:
        """The packets of a server vanish from now on; what a balancer can see of that comes later."""

    def stopped(self, server: Apiserver) -> None:
        """A server has closed all its connections."""

    def least(self, among: Sequence[int], loads: Sequence[float]) -> int:
        """The one with the smallest load, any of those that tie."""
        least = min(loads[index] for index in among)
        return self.rng.choice([index for index in among if loads[index] <= least])

    def server(self, index: int) -> Apiserver:
        return self.world.servers[index]

    def cut_all(self, index: int) -> None:
        """End all sessions with a server."""
        for session in self.node.sessions:
            if session.server is not None and session.server.index == index:
                self.world.cut(session)


class Sequential(Balancer):
    """Dials one server after the other."""

    patience = 2.0
    """Seconds until a connect that is not answered has failed."""
    tries = 3
    retry_after = 0.0
    """Seconds between a refusal and the next try."""

    def pick(self, tried: Sequence[int]) -> int | None:
        raise NotImplementedError

    def failed(self, index: int) -> None:
        """A connect has."""

    def succeeded(self, index: int) -> None:
        """A connect has."""

    def dial(self, session: Session) -> None:
        self._try(session, session.turn, ())

    def _try(self, session: Session, turn: int, tried: tuple[int, ...]) -> None:
        if session.turn != turn:
            return
        index = self.pick(tried) if len(tried) < self.tries else None
        if index is None:
            session.rejected()
            return
        door = self.server(index).door
        if door == "open":
            self.clock.at(self.clock.now + ROUND_TRIP, self._connect, session, turn, tried, index)
        else:
            wait = self.patience if door == "silent" else ROUND_TRIP
            self.clock.at(self.clock.now + wait, self._fail, session, turn, tried, index)

    def _connect(self, session: Session, turn: int, tried: tuple[int, ...], index: int) -> None:
        if self.server(index).door != "open":
            self._fail(session, turn, tried, index)
        elif session.turn == turn:
            self.succeeded(index)
            session.connected(self.server(index))

    def _fail(self, session: Session, turn: int, tried: tuple[int, ...], index: int) -> None:
        self.failed(index)
        self.clock.at(self.clock.now + self.retry_after, self._try, session, turn, (*tried, index))


Policy = Callable[["Node"], Balancer]
