"""How a dial proceeds: when another server is tried, and when it is given up; pure.

A server that refuses is followed by the next at once. One that does not answer is given company after a while (Happy
Eyeballs, RFC 8305, does so with the addresses of a host): the hedge delay, or less where that would not let all
servers have their chance within the time there is. Times are seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubelb.snapshot import Listener


@dataclass(frozen=True)
class Start:
    """Try another server now."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do until then, unless a server answers."""

    until: float


@dataclass(frozen=True)
class GiveUp:
    """The client cannot be served."""


Step = Start | Wait | GiveUp


def patience(listener: Listener, servers: int) -> float:
    """Seconds after which a server that has not answered is given company; ``servers`` may be tried in all."""
    return min(listener.hedge_delay, _share(listener, servers))


def next_step(
    listener: Listener, servers: int, tried: int, begun: float, waiting: Sequence[float], now: float, failed: bool
) -> Step:
    """What to do now in a dial that was begun at ``begun``.

    Of ``servers`` that may be tried ``tried`` have been, those under way included; ``waiting`` tells when these were
    begun, in order. ``failed``: the last of what happened was that a server has failed.
    """
    give_up_at = begun + listener.connect_timeout
    left = servers - tried if may_retry(listener, begun, now) else 0
    if now >= give_up_at or not (left or waiting):
        return GiveUp()
    if not left:
        return Wait(give_up_at)
    if failed or not waiting:
        return Start()
    due = min(waiting[-1] + patience(listener, servers), give_up_at - left * _share(listener, servers))
    return Start() if now >= due else Wait(due)


def most_tries(listener: Listener, usable: int) -> int:
    """How many of the servers that may be used a dial tries."""
    return min(usable, listener.max_tries or usable)


def may_retry(listener: Listener, begun: float, now: float) -> bool:
    """Whether it is early enough for one more."""
    return listener.retry_timeout is None or now < begun + listener.retry_timeout


def _share(listener: Listener, servers: int) -> float:
    return listener.connect_timeout / servers
