"""Sessions that end because control wants it: all of a server that is to be cut, some idle ones of a full server.

Runs on the relay thread whose sessions they are, and logs nothing: control has said what it decided.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter, itemgetter
from typing import Final

from kubelb.relay.session import Condition, End, Session
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Server, Snapshot, Spares
from kubelb.worker.signs import acknowledged_since, heard_since

_MANY: Final = 50
"""Sessions of a relay thread that are worth the whole spread."""
_SPARED: Final[Mapping[Spares, Callable[[Session, float], bool]]] = {
    "heard": heard_since,
    "acknowledged": acknowledged_since,
}
"""Whether a session is spared: from it and the moment of the last evidence against its server."""


class Cuts:
    """Resets the sessions of a server from its ``cut_at`` on, at random moments within the pool's ``reset_spread``.

    An order is known by its slot and moment, and is carried out once, however often snapshots repeat it. It strikes
    the sessions there are when its moment comes, not those begun later: when all servers are down they are tried all
    the same. A snapshot in which the slot has another moment, or none, withdraws what is left of it.

    The spread keeps the clients of a whole fleet from dialling the servers that are left in one instant, each with a
    TLS handshake. It is meant for many sessions: fifty of a relay thread, or more, take all of it, and fewer take
    their part of it, so that a handful are cut at once. Their clients would only be kept waiting for a server that is
    gone, and a handful of handshakes hurts nobody.

    An order that spares some sessions looks at each of them at its own moment, and what it has spared it leaves alone
    from then on. When bytes have come since the last evidence, to whatever session of the server, then the server
    lives and the order is void on this thread.
    """

    def __init__(self, thread: RelayThread, rng: random.Random, lives: Callable[[int], object]) -> None:
        """``lives`` is told the slot of a server that was to be cut and lives."""
        self._thread = thread
        self._rng = rng
        self._lives = lives
        self._orders: dict[int, _Order] = {}
        """The last one for each slot."""

    def see(self, snapshot: Snapshot) -> None:
        """Go by the orders in this snapshot."""
        for order in self._orders.values():
            order.withdraw()
        for pool in snapshot.pools:
            for server in pool.servers:
                if server.cut_at is not None:
                    self._carry_out(server, server.cut_at, pool.reset_spread)

    def include(self, session: Session, opened_at: float) -> None:
        """It has come from elsewhere, where orders may have been under way that struck it."""
        order = self._orders.get(session.slot)
        if order is not None and opened_at < order.cut_at:
            order.include(session)

    def _carry_out(self, server: Server, cut_at: float, spread: float) -> None:
        order = self._orders.get(server.slot)
        if order is None or order.cut_at != cut_at:
            order = _Order(self._thread, self._rng, server.slot, cut_at, partial(self._lives, server.slot))
            self._orders[server.slot] = order
        order.go_on(spread, server.cut_spares, server.cut_against)


class _Order:
    """``wheel_key`` is the relay thread's."""

    def __init__(
        self, thread: RelayThread, rng: random.Random, slot: int, cut_at: float, lives: Callable[[], object]
    ) -> None:
        self.cut_at = cut_at
        self._thread = thread
        self._rng = rng
        self._slot = slot
        self._lives = lives
        self._spread = 0.0
        """Seconds."""
        self._spares: Spares = "nobody"
        self._against = 0.0
        self._left: list[tuple[float, Session]] | None = None
        """Whom to cut when, the next one last; None before the moment has come."""
        self._withdrawn = True
        self.wheel_key = 0

    def withdraw(self) -> None:
        """Until it is to go on: it may come back."""
        self._withdrawn = True
        self._thread.drop_deadline(self)

    def go_on(self, spread: float, spares: Spares, against: float) -> None:
        """``spread`` counts for whoever has not got a moment yet, the others for whoever has not been cut."""
        self._spread, self._spares, self._against = spread, spares, against
        self._withdrawn = False
        self.expired()

    def expired(self) -> None:
        """As the relay thread's deadline: do what is due, and come back for the rest."""
        now = self._thread.now
        if self._left is None and now >= self.cut_at:
            self._left = self._draw()
        if self._left and self._left[-1][0] <= now and self._is_void():
            self._left = []
            self._lives()
        while self._left and self._left[-1][0] <= now:
            self._thread.end(self._left.pop()[1], End.CUT, self._strikes())
        if self._left is None:
            self._thread.set_deadline(self, self.cut_at - now)
        elif self._left:
            self._thread.set_deadline(self, self._left[-1][0] - now)

    def _is_void(self) -> bool:
        """Whether the server has been heard of since the evidence against it."""
        if self._spares == "nobody":
            return False
        return any(heard_since(session, self._against) for session in self._sessions())

    def _strikes(self) -> Condition:
        """Whether a session is not spared."""
        spared, against = _SPARED.get(self._spares), self._against
        return lambda session: spared is None or not spared(session, against)

    def include(self, session: Session) -> None:
        """Strike it too, as long as the order stands; before its moment has come it is among the others anyway."""
        if self._left is None:
            return
        came = self._moment(len(self._left) + 1), session
        self._left = sorted([*self._left, came], key=itemgetter(0), reverse=True)
        if not self._withdrawn:
            self.expired()

    def _draw(self) -> list[tuple[float, Session]]:
        sessions = self._sessions()
        moments = ((self._moment(len(sessions)), session) for session in sessions)
        return sorted(moments, key=itemgetter(0), reverse=True)

    def _sessions(self) -> list[Session]:
        return [session for session in self._thread.sessions() if session.slot == self._slot]

    def _moment(self, among: int) -> float:
        """That of one among so many."""
        return self.cut_at + wait(self._spread, among, self._rng.random())


def wait(spread: float, among: int, chance: float) -> float:
    """Seconds that one of so many sessions keeps after the moment of the cut; ``chance`` is drawn from [0, 1)."""
    return chance * spread * min(1.0, among / _MANY)


def release(thread: RelayThread, slot: int, count: int, quiet: float) -> None:
    """Close at most ``count`` sessions of a server, the longest idle first: cleanly, so that clients dial again.

    None in which anything has moved for the last ``quiet`` seconds, or of which a single byte is on its way.
    """
    since = thread.now - quiet

    def idle(session: Session) -> bool:
        return session.moved_at <= since and session.at_rest

    candidates = [session for session in thread.sessions(bulk=False) if session.slot == slot]
    for session in sorted(candidates, key=attrgetter("moved_at")):
        if not count:
            return
        count -= thread.end(session, End.REBALANCED, idle)
