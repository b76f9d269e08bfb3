"""What a kubelb's relay threads see of sessions that wait (:mod:`kubelb.worker.stalls`), in simulated time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.fleet.apiserver import Apiserver
    from bench.fleet.policies.kubelb import Kubelb
    from bench.fleet.session import Session

_RESENT = (0.21, 0.43, 0.86, 1.70, 3.4)
"""Seconds after which TCP has sent again what is not acknowledged (measured)."""
_PASS = 0.1
"""Seconds between two looks at sessions while something is not acknowledged."""
_SLOW_PASS = 0.25
"""The same otherwise."""
_MISSED = 0.5
"""Seconds after which an answer is missed although all is acknowledged."""
_KEEPALIVE = 5.0
"""Seconds of silence after which TCP asks a server whether it is there."""
_KEEPALIVE_AGAIN = 1.0
_BEAT = 2.0
"""Seconds between two looks at idle sessions."""
_RTO = 0.2
_LOOKS = 4


class Stalls:
    def __init__(self, balancer: Kubelb) -> None:
        self._balancer = balancer
        self._clock = balancer.clock
        self._rng = balancer.rng

    def asked(self, session: Session, answered_at: float) -> None:
        now = self._clock.now
        if answered_at < math.inf:
            if answered_at - now > _MISSED:
                look_at = now + _MISSED + self._rng.random() * _SLOW_PASS
                self._clock.at(look_at, self._look_at_waiting, session, session.asked_at)
        elif session.asked_at == now:
            for count, after in enumerate(_RESENT, 1):
                self._see(session, now, count, now + after + self._rng.random() * _PASS)

    def vanished(self, server: Apiserver) -> None:
        """TCP asks by itself where nothing comes."""
        for session in self._balancer.on(server.index):
            due = max(session.heard_at(self._clock.now) + _KEEPALIVE, self._clock.now)
            seen_at = due + self._rng.random() * _BEAT
            for look in range(_LOOKS):
                at = seen_at + _RTO + look * _KEEPALIVE_AGAIN
                count = 1 + int((at - due) / _KEEPALIVE_AGAIN)
                self._see(session, due, count, at)

    def _see(self, session: Session, since: float, count: int, at: float) -> None:
        assert session.server is not None
        self._clock.at(at, self._look_at_unacknowledged, session, session.server, since, count)

    def _look_at_unacknowledged(self, session: Session, server: Apiserver, since: float, count: int) -> None:
        if session.server is server and server.door == "silent":
            self._balancer.unacknowledged(server.index, since, count)

    def _look_at_waiting(self, session: Session, since: float) -> None:
        """Only of one to which nothing has come since it asked."""
        now, server = self._clock.now, session.server
        if server is None or session.asked_at != since or server.door != "open":
            return
        self._balancer.acked_at[server.index] = now
        if session.heard_at(now) < since:
            self._balancer.unheard(server.index, since)
