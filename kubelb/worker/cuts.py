"""Sessions that end because control wants it: all of a server that is to be cut, some idle ones of a full server.

Runs on the relay thread whose sessions they are, and logs nothing: control has said what it decided.
"""

from __future__ import annotations

import random
from operator import attrgetter, itemgetter

from kubelb.relay.session import End, Session
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Snapshot


class Cuts:
    """Resets the sessions of a server from its ``cut_at`` on, at random moments within the pool's ``reset_spread``.

    An order is known by its slot and moment, and is carried out once, however often snapshots repeat it. It strikes
    the sessions there are when its moment comes, not those begun later: when all servers are down they are tried all
    the same. A snapshot in which the slot has another moment, or none, withdraws what is left of it.
    """

    def __init__(self, thread: RelayThread, rng: random.Random) -> None:
        self._thread = thread
        self._rng = rng
        self._orders: dict[int, _Order] = {}
        """The last one for each slot."""

    def see(self, snapshot: Snapshot) -> None:
        """Go by the orders in this snapshot."""
        for order in self._orders.values():
            order.withdraw()
        for pool in snapshot.pools:
            for server in pool.servers:
                if server.cut_at is not None:
                    self._carry_out(server.slot, server.cut_at, pool.reset_spread)

    def include(self, session: Session, opened_at: float) -> None:
        """It has come from elsewhere, where orders may have been under way that struck it."""
        order = self._orders.get(session.slot)
        if order is not None and opened_at < order.cut_at:
            order.include(session)

    def _carry_out(self, slot: int, cut_at: float, spread: float) -> None:
        order = self._orders.get(slot)
        if order is None or order.cut_at != cut_at:
            order = self._orders[slot] = _Order(self._thread, self._rng, slot, cut_at)
        order.go_on(spread)


class _Order:
    """``wheel_key`` is the relay thread's."""

    def __init__(self, thread: RelayThread, rng: random.Random, slot: int, cut_at: float) -> None:
        self.cut_at = cut_at
        self._thread = thread
        self._rng = rng
        self._slot = slot
        self._spread = 0.0
        """Seconds."""
        self._left: list[tuple[float, Session]] | None = None
        """Whom to cut when, the next one last; None before the moment has come."""
        self._withdrawn = True
        self.wheel_key = 0

    def withdraw(self) -> None:
        """Until it is to go on: it may come back."""
        self._withdrawn = True
        self._thread.drop_deadline(self)

    def go_on(self, spread: float) -> None:
        """``spread`` counts for whoever has not got a moment yet."""
        self._spread = spread
        self._withdrawn = False
        self.expired()

    def expired(self) -> None:
        """As the relay thread's deadline: do what is due, and come back for the rest."""
        now = self._thread.now
        if self._left is None and now >= self.cut_at:
            self._left = self._draw()
        while self._left and self._left[-1][0] <= now:
            self._thread.end(self._left.pop()[1], End.CUT)
        if self._left is None:
            self._thread.set_deadline(self, self.cut_at - now)
        elif self._left:
            self._thread.set_deadline(self, self._left[-1][0] - now)

    def include(self, session: Session) -> None:
        """Strike it too, as long as the order stands; before its moment has come it is among the others anyway."""
        if self._left is None:
            return
        self._left = sorted([*self._left, (self._moment(), session)], key=itemgetter(0), reverse=True)
        if not self._withdrawn:
            self.expired()

    def _draw(self) -> list[tuple[float, Session]]:
        sessions = (session for session in self._thread.sessions() if session.slot == self._slot)
        return sorted(((self._moment(), session) for session in sessions), key=itemgetter(0), reverse=True)

    def _moment(self) -> float:
        return self.cut_at + self._rng.random() * self._spread


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
