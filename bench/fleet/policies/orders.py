"""The cut of a server's sessions on one node, as its relay threads carry it out (:mod:`kubelb.worker.cuts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubelb.snapshot import Server
from kubelb.worker.cuts import wait

if TYPE_CHECKING:
    from bench.fleet.policies.kubelb import Kubelb
    from bench.fleet.session import Session


class Order:
    """Draws a moment for each session that is there when it begins, and looks at the session once more then."""

    def __init__(self, balancer: Kubelb, index: int, server: Server, spread: float) -> None:
        assert server.cut_at is not None
        self.cut_at = server.cut_at
        self.stands = True
        self._balancer = balancer
        self._index = index
        self._spares = server.cut_spares
        self._against = server.cut_against
        self._spread = spread
        balancer.clock.at(self.cut_at, self._draw)

    def _draw(self) -> None:
        if not self.stands:
            return
        sessions = self._balancer.on(self._index)
        for session in sessions:
            left = wait(self._spread, len(sessions), self._balancer.rng.random())
            self._balancer.clock.at(self.cut_at + left, self._cut, session)

    def _cut(self, session: Session) -> None:
        if not self.stands or session.server is None or session.server.index != self._index:
            return
        if self._spares != "nobody" and self._is_alive(session):
            return
        self._balancer.world.cut(session)

    def _is_alive(self, session: Session) -> bool:
        now = self._balancer.clock.now
        if self._spares == "acknowledged" and self._balancer.server(self._index).door == "open":
            return True
        return any(one.heard_at(now) > self._against for one in self._balancer.on(self._index))
