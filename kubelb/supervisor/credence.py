"""What a child says, looked at before anything is done about it; pure.

Its message has the right form already (:mod:`kubelb.wire.message_sets`). Whether it can be true depends on who says
it and on what was said before. A child of which something is wrong has been taken over, or has a fault of ours.
"""

from __future__ import annotations

from collections import Counter

from kubelb.snapshot import Snapshot
from kubelb.supervisor.plan import Place
from kubelb.wire.message_sets import FromControl, FromWorker
from kubelb.wire.messages import Configured, Ready, SessionList, Sighting, SnapshotChanged

_AHEAD = 1.0
"""Seconds that a child's clock may be ahead of ours; all read the same one."""


def fault_in(message: FromWorker | FromControl, place: Place, snapshot: Snapshot, now: float) -> str | None:
    """Why the child in that place cannot have said that; None: it can. ``snapshot`` is the newest there is."""
    if isinstance(message, Ready) and place.ready:
        return "ready twice"
    if isinstance(message, Sighting) and message.at > now + _AHEAD:
        return "has seen what is still to come"
    if isinstance(message, SessionList) and message.row not in place.rows:
        return f"speaks for the relay thread of row {message.row}"
    if isinstance(message, SnapshotChanged | Configured):
        return _fault_of(message.snapshot, snapshot)
    return None


def _fault_of(wanted: Snapshot, running: Snapshot) -> str | None:
    if wanted.version <= running.version:
        return f"snapshot {wanted.version} after {running.version}"
    slots = Counter(server.slot for pool in wanted.pools for server in pool.servers)
    wrong = [slot for slot, count in slots.items() if count > 1 or not slot]
    return f"slots that no server can have, or two have: {wrong}" if wrong else None
