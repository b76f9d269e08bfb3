"""What a child says, looked at before anything is done about it; pure.

Its message has the right form already (:mod:`kubelb.wire.message_sets`). Whether it can be true depends on who says
it and on what was said before. A child of which something is wrong has been taken over, or has a fault of ours.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from kubelb.snapshot import Snapshot
from kubelb.supervisor.plan import Place
from kubelb.wire.message_sets import FromControl, FromWorker
from kubelb.wire.messages import PoolsChanged, ReadAnew, Ready, SessionList, Sighting, Stalled

_AHEAD = 1.0
"""Seconds that a child's clock may be ahead of ours; all read the same one."""


class Known(NamedTuple):
    """What the supervisor knows."""

    now: float
    snapshot: Snapshot
    """The newest."""
    read: int | None = None
    """The generation of a configuration that has been read and may be gone by; None: there is none."""
    reading: bool = False
    """Whether one is being read."""


def fault_in(message: FromWorker | FromControl, place: Place, known: Known) -> str | None:
    """Why the child in that place cannot have said that; None: it can."""
    if isinstance(message, Ready) and place.ready:
        return "ready twice"
    if isinstance(message, Sighting | Stalled) and message.at > known.now + _AHEAD:
        return "has seen what is still to come"
    if isinstance(message, SessionList) and message.row not in place.rows:
        return f"speaks for the relay thread of row {message.row}"
    if isinstance(message, ReadAnew) and known.reading:
        return "asks again for what is being read"
    if isinstance(message, PoolsChanged):
        return _fault_of(message, known)
    return None


def _fault_of(pools: PoolsChanged, known: Known) -> str | None:
    if pools.version <= known.snapshot.version:
        return f"snapshot {pools.version} after {known.snapshot.version}"
    if pools.generation not in (known.snapshot.generation, known.read):
        return f"goes by a configuration that there is not, {pools.generation}"
    slots = Counter(server.slot for pool in pools.pools for server in pool.servers)
    wrong = [slot for slot, count in slots.items() if count > 1 or not slot]
    return f"slots that no server can have, or two have: {wrong}" if wrong else None
