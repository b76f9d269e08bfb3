"""What it means that a session has asked its server something and hears nothing; pure.

The kernel tells two kinds of silence apart. A server's kernel acknowledges within milliseconds, whatever its
processes do: bytes that TCP has to send again are lost, or the machine or the network to it is gone. Bytes that are
acknowledged and not answered mean a server that hangs or is busy, or one that owes no answer: the last word of an
HTTP/2 connection is often the client's (WINDOW_UPDATE, the answer to a PING), so such a wait proves nothing by
itself and is not told for ever.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kubelb.relay.tcp_info import TcpInfo

SOON = 0.1
"""For so long nobody is suspected: acknowledgements may be delayed by 40 ms, and TCP sends nothing again before
200."""
_UNANSWERED = 0.5
"""After so long an answer is missed, although all is acknowledged."""
OVER = 10.0
"""After so long no answer is expected any more to what is acknowledged."""
_TICK = 0.02
"""The kernel's times are exact to a tick of its own, of 1 to 10 ms: two of the same packet may differ by that."""


class Finding(NamedTuple):
    """What there is to tell of a session; the fields are those of :class:`kubelb.wire.messages.Stalled`."""

    since: float
    acknowledged: bool
    retransmissions: int


class Wait(NamedTuple):
    """What is remembered of a session that waits."""

    since: float
    """When it asked: the first step of its bytes that cannot have been acknowledged, as far as is known."""
    known: float = -math.inf
    """Steps until then were acknowledged, or may have been."""
    settled: float = -math.inf
    """Steps until then were acknowledged for certain."""
    packet: float = -math.inf
    """When the server's last packet had come, as of the last look."""
    resent: int = 0
    """Segments that had been sent again until that packet, since the connection began."""
    doubted: float | None = None
    """Since when there are questions of TCP's own (keepalive, is there room?) that the server has not answered."""


def is_asked(asked: float, heard: float, now: float) -> bool:
    """Whether a session that last sent and received bytes at these times may wait for an answer.

    What moved in the same poll has the same time: then the question may have been the later one.
    """
    return heard <= asked and now - asked <= OVER


def after_look(
    wait: Wait, asked: float | None, info: TcpInfo, keepalive: float, now: float
) -> tuple[Wait | None, Finding | None]:
    """What is remembered after a look at the connection, None: it does not wait any more; and what is to be told.

    ``asked`` is the last step up, None if :func:`is_asked` says that no answer is waited for. After ``keepalive``
    seconds of silence TCP asks by itself.
    """
    wait = _with_packet(wait, asked, info, now)
    if asked is not None and wait.since <= wait.known < asked:
        wait = wait._replace(since=asked)
    if info.unacked:
        return wait, _unacknowledged(wait, info, now)
    if info.probes:
        wait = wait._replace(doubted=now if wait.doubted is None else wait.doubted)
        return wait, _questioned(wait, info, keepalive, now)
    if asked is None:
        return None, None
    return wait._replace(known=asked, settled=asked), missed(asked, now)


def missed(asked: float, now: float) -> Finding | None:
    """What is to be told of a session all of whose bytes are acknowledged."""
    return Finding(asked, True, 0) if now - asked >= _UNANSWERED else None


def _with_packet(wait: Wait, asked: float | None, info: TcpInfo, now: float) -> Wait:
    """Whatever was sent again before the server's last packet counts no more, nor do questions from before it; the
    first step that was not known to be acknowledged may be by now."""
    packet = info.packet_at(now)
    if packet <= wait.packet + _TICK:
        return wait
    known = max(wait.known, wait.since) if packet >= wait.since else wait.known
    return wait._replace(
        packet=packet, known=known, resent=info.total_retrans - _outstanding(asked, info, now), doubted=None
    )


def _outstanding(asked: float | None, info: TcpInfo, now: float) -> int:
    """How often something was sent again, from one look alone: what was sent long after the last step was that."""
    again = asked is not None and info.sent_at(now) > max(asked, info.packet_at(now)) + SOON
    return max(info.retransmits, info.retrans, again)


def _unacknowledged(wait: Wait, info: TcpInfo, now: float) -> Finding | None:
    since = max(wait.since, wait.packet)
    count = max(info.retransmits, info.retrans, info.total_retrans - wait.resent)
    return Finding(since, False, count) if count and now - since >= SOON else None


def _questioned(wait: Wait, info: TcpInfo, keepalive: float, now: float) -> Finding | None:
    """A question that was just sent is no sign: the answer may be under way."""
    assert wait.doubted is not None
    if now - wait.doubted < max(SOON, info.rto / 1e6):
        return None
    return Finding(min(wait.doubted, wait.packet + keepalive), False, info.probes)
