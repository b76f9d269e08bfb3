"""The accounts of one relay thread: what its sessions did, into its row of the shared counters and the access log.

Runs on that thread, which is the only writer of the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kubelb.relay.flow import State
from kubelb.relay.session import End, Session
from kubelb.snapshot import Listener, Server
from kubelb.stats import Count, Row


class Visit(NamedTuple):
    """What a session is about: who came where and was taken to whom."""

    client: tuple[str, int]
    listener: Listener
    server: Server
    opened_at: float
    """Seconds of the monotonic clock."""


class Books:
    """The :class:`~kubelb.relay.session.Ledger` of a relay thread."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self.record: Callable[[Visit, Session, End], None] | None = None
        """Called for every ended session."""
        self.broken: Callable[[int], None] | None = None
        """Called with the slot of a server that has broken a session; not once it has ended its side orderly."""
        self.emptied: Callable[[], None] | None = None
        """Called when the last client has gone."""

    @property
    def clients(self) -> int:
        """Connected now, dials under way included."""
        return self._row.get(0, Count.ACTIVE)

    def accepted(self) -> None:
        self._row.add(0, Count.ACTIVE)
        self._row.add(0, Count.OPENED)

    def refused(self) -> None:
        """A client who got no server, or did not wait for one."""
        self._gone()

    def moved(self, session: Session) -> None:
        up, down = session.uncounted()
        if up:
            self._row.add(session.slot, Count.BYTES_UP, up)
        if down:
            self._row.add(session.slot, Count.BYTES_DOWN, down)

    def ended(self, session: Session, end: End) -> None:
        self._row.add(session.slot, Count.ACTIVE, -1)
        if end.is_reset:
            self._row.add(session.slot, Count.RESETS)
            if self.broken is not None and end is End.SERVER_RESET and session.down.state is not State.SHUT:
                self.broken(session.slot)
        if self.record is not None and isinstance(session.about, Visit):
            self.record(session.about, session, end)
        self._gone()

    def _gone(self) -> None:
        self._row.add(0, Count.ACTIVE, -1)
        if self.emptied is not None and not self.clients:
            self.emptied()
