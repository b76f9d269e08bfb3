"""When a server last gave a sign of life on a session: asked once, where much depends on it.

Asked by the thread that holds the session, or by the relay thread that has lent it.
"""

from __future__ import annotations

import time

from kubelb.relay.session import Session
from kubelb.relay.tcp_info import tcp_info

_TICK = 0.01
"""The kernel knows the times of packets to a tick of its own, which is 10 ms at most: what is in doubt came later."""


def heard_since(session: Session, moment: float) -> bool:
    """Whether bytes have come from the server since then.

    That they were read since then is not enough: a client that takes them slowly lets them wait in the kernel.
    """
    if session.down.first_at is None or session.down.moved_at < moment:
        return False
    info = tcp_info(session.server)
    return info is None or info.data_at(time.monotonic()) + _TICK >= moment


def acknowledged_since(session: Session, moment: float) -> bool:
    """Whether any packet has come from the server since then; where that is not to be had, bytes."""
    info = tcp_info(session.server)
    if info is None:
        return heard_since(session, moment)
    return info.packet_at(time.monotonic()) + _TICK >= moment
