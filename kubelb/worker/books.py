"""The accounts of one relay thread: what its sessions did, into its row of the shared counters and the access log.

Runs on that thread, which is the only writer of the row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from kubelb.config.variables import Client, Opening, Try, address_text
from kubelb.crowds import Crowds
from kubelb.relay.flow import State
from kubelb.relay.session import End, Session
from kubelb.snapshot import Listener, Server
from kubelb.stats import ROWS, Count, Row


class Visit(NamedTuple):
    """What a session is about: who came where and was taken to whom."""

    client: tuple[str, int]
    listener: Listener
    server: Server
    opened_at: float
    """Seconds of the monotonic clock."""
    opening: Opening | None = None
    """How it came about; None: nobody logged that then."""
    counted_as: tuple[int, ...] = ()
    """The kinds of clients among which it is counted."""


def opening_of(visit: Visit) -> Opening:
    """How it came about, as far as is known."""
    taken = Try(address_text(visit.server.address), visit.opened_at, 0.0, accepted=True)
    return visit.opening or Opening(Client(0, visit.client, ("", 0)), visit.opened_at, (taken,))


class Journal(Protocol):
    """Who is told of every client when all is over; nobody waits for it."""

    def session(self, visit: Visit, session: Session, end: End) -> None: ...

    def unserved(self, listener: Listener, opening: Opening, end: str, status: int, sent: int = 0) -> None:
        """One who got no server, and so many bytes from us; ``status`` is nginx's."""


class Books:
    """The :class:`~kubelb.relay.session.Ledger` of a relay thread."""

    def __init__(self, row: Row, crowds: Crowds) -> None:
        self._row = row
        self._crowds = crowds
        self.journal: Journal | None = None
        self.broken: Callable[[int], None] | None = None
        """Called with the slot of a server that has broken a session; not once it has ended its side orderly."""
        self.emptied: Callable[[], None] | None = None
        """Called when the last client has gone."""

    @property
    def clients(self) -> int:
        """Connected now, dials under way included."""
        return self._row.get(0, Count.ACTIVE)

    def accepted(self) -> int:
        """A client has come; its number, which no other has, of whatever relay thread."""
        return self._row.came() * ROWS + self._row.index

    def turned_away(self, who: Client | None = None, reason: int = Count.TURNED_AWAY) -> None:
        """A client whom we close; for want of a server, unless the :class:`Count` says otherwise."""
        self._row.add(0, reason)
        self._gone(() if who is None else who.counted_as)

    def gave_up(self, who: Client) -> None:
        """A client who needs no server any more: he did not wait for one, or has his answer."""
        self._gone(who.counted_as)

    def broken_off(self, counted_as: tuple[int, ...] = ()) -> None:
        """A client without a session, whom a limit or a fault of our own has struck."""
        self._row.add(0, Count.INTERNAL)
        self._gone(counted_as)

    def relays(self, splices: bool, alone: int) -> None:
        """How the thread moves bytes from now on, and how many of its sessions have one of their own."""
        self._row.put(0, Count.SPLICING, splices)
        self._row.put(0, Count.COPYING, not splices)
        self._row.put(0, Count.ALONE, alone)

    def given(self, session: Session) -> None:
        """It goes on elsewhere."""
        self._row.add(session.slot, Count.ACTIVE, -1)
        self._gone(_counted_as(session))

    def taken(self, session: Session) -> None:
        """It has begun elsewhere."""
        self._row.add(session.slot, Count.ACTIVE)
        self._row.add(0, Count.ACTIVE)
        for kind in _counted_as(session):
            self._crowds.add(kind)

    def refused(self, slot: int) -> None:
        """One of that server has come from elsewhere that cannot be gone on with."""
        self._row.add(slot, Count.INTERNAL)

    def moved(self, session: Session) -> None:
        self._row.moved(session.slot, *session.uncounted())

    def ended(self, session: Session, end: End) -> None:
        row, slot, visit = self._row, session.slot, session.about
        assert isinstance(visit, Visit)
        row.moved(slot, *session.uncounted())
        row.ended(slot, end.counted_as, time.monotonic() - visit.opened_at)
        if end is End.SERVER_RESET and self.broken is not None and session.down.state is not State.SHUT:
            self.broken(slot)
        if self.journal is not None:
            self.journal.session(visit, session, end)
        self._gone(visit.counted_as)

    def _gone(self, counted_as: tuple[int, ...]) -> None:
        for kind in counted_as:
            self._crowds.leave(kind)
        self._row.add(0, Count.ACTIVE, -1)
        if self.emptied is not None and not self.clients:
            self.emptied()


def _counted_as(session: Session) -> tuple[int, ...]:
    visit = session.about
    return visit.counted_as if isinstance(visit, Visit) else ()
