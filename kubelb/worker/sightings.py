"""What the sessions of one relay thread tell of the servers, passed on to control: it looks for itself then.

Used on that thread. A dead server breaks thousands of sessions in one moment; once is enough to say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kubelb.wire.messages import Sighting

_PAUSE = 0.1
"""Seconds between two sightings of the same kind, at least."""


class Sightings:
    """Sends them, and leaves out those that would say the same again."""

    def __init__(self, send: Callable[[Sighting], object]) -> None:
        """``send`` must not wait; what it cannot take is lost."""
        self._send = send
        self._silent_until: dict[tuple[int, bool], float] = {}

    def fault(self, slot: int, reason: str) -> None:
        """The server at ``slot`` of the shared counters did not accept a connection, or broke a session."""
        self._report(slot, reason)

    def accepted(self, slot: int) -> None:
        """A server that is thought to be away has accepted a connection."""
        self._report(slot, "")

    def _report(self, slot: int, fault: str) -> None:
        now, kind = time.monotonic(), (slot, bool(fault))
        if now >= self._silent_until.get(kind, 0):
            self._silent_until[kind] = now + _PAUSE
            self._send(Sighting(slot, now, fault))
