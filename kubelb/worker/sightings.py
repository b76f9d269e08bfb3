"""What the sessions of one relay thread tell of the servers, passed on to control: it looks for itself then.

Used on that thread. A dead server breaks thousands of sessions in one moment; once is enough to say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kubelb.wire.messages import Sighting, Stalled
from kubelb.worker.waits import Finding

_PAUSE = 0.1
"""Seconds between two sightings of the same kind, at least."""
_PATIENCE = 1.0
"""The same where a server only lets somebody wait for an answer: that is normal."""


class Sightings:
    """Sends them, and leaves out those that would say the same again."""

    def __init__(self, send: Callable[[Sighting | Stalled], object]) -> None:
        """``send`` must not wait; what it cannot take is lost."""
        self._send = send
        self._silent_until: dict[tuple[int, str], float] = {}

    def fault(self, slot: int, reason: str) -> None:
        """The server at ``slot`` of the shared counters did not accept a connection, or broke a session."""
        now = time.monotonic()
        if self._may_say(slot, "fault", now, _PAUSE):
            self._send(Sighting(slot, now, reason))

    def accepted(self, slot: int) -> None:
        """A server that is thought to be away has accepted a connection, or has been heard of."""
        now = time.monotonic()
        if self._may_say(slot, "accepted", now, _PAUSE):
            self._send(Sighting(slot, now, ""))

    def stalled(self, slot: int, finding: Finding) -> None:
        """A session waits for that server."""
        now, acknowledged = time.monotonic(), finding.acknowledged
        kind, pause = ("waits", _PATIENCE) if acknowledged else ("unacknowledged", _PAUSE)
        if self._may_say(slot, kind, now, pause):
            self._send(Stalled(slot, now, finding.since, acknowledged, finding.retransmissions))

    def _may_say(self, slot: int, kind: str, now: float, pause: float) -> bool:
        if now < self._silent_until.get((slot, kind), 0):
            return False
        self._silent_until[slot, kind] = now + pause
        return True
