"""What a kubelb's relay threads see of sessions that wait: what TCP would tell them is made here, what it means says
:mod:`kubelb.worker.waits`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kubelb.config.model.pools import Pool
from kubelb.relay.tcp_info import TcpInfo
from kubelb.worker.waits import Wait, after_look, is_asked

if TYPE_CHECKING:
    from bench.fleet.apiserver import Apiserver
    from bench.fleet.policies.kubelb import Kubelb
    from bench.fleet.session import Session

_RESENT = (0.21, 0.43, 0.86, 1.70, 3.4)
"""Seconds after which TCP has sent again what is not acknowledged (measured)."""
_RTO = 0.204
_PASS = 0.25
"""Seconds between two looks at sessions that wait."""
_PROMPT = 0.1
"""The same while something is not acknowledged."""
_MISSED = 0.5
"""Seconds after which an answer is looked for that does not come."""
_BEAT = 2.0
"""Seconds between two looks at idle sessions."""
_KEEPALIVE = Pool(servers=()).keepalive
"""Seconds of silence after which TCP asks whether a server is there, and a third of that until it asks again."""
_AGAIN = max(1, int(_KEEPALIVE / 3))
_LOOKS = 4
_LONG = 3600.0
"""Seconds for a time that does not matter."""


class Stalls:
    def __init__(self, balancer: Kubelb) -> None:
        self._balancer = balancer
        self._clock = balancer.clock
        self._rng = balancer.rng
        self._packets: dict[Session, float] = {}
        """When anything last came, by session with a server that has vanished."""
        self._waits: dict[Session, Wait] = {}

    def asked(self, session: Session, answered_at: float) -> None:
        """A client has, and gets its answer then."""
        now, server = self._clock.now, session.server
        if server is None or session.asked_at != now:
            return
        if answered_at == math.inf:
            for count, after in enumerate(_RESENT, 1):
                self._clock.at(now + after + self._rng.random() * _PROMPT, self._look, session, server, count, 0)
        elif answered_at > now + _MISSED:
            self._clock.at(now + _MISSED + self._rng.random() * _PASS, self._look_for_answer, session, server, now)

    def vanished(self, server: Apiserver) -> None:
        """Where nothing comes TCP asks, as it has done before."""
        now = self._clock.now
        for session in self._balancer.on(server.index):
            self._waits.pop(session, None)
            self._packets[session] = now - (now - session.heard_at(now)) % _KEEPALIVE
            due = self._packets[session] + _KEEPALIVE
            first = due + self._rng.random() * _BEAT
            for seen_at in (first, *(first + _PASS + look * _AGAIN for look in range(_LOOKS))):
                self._clock.at(seen_at, self._look, session, server, 0, 1 + int((seen_at - due) / _AGAIN))

    def _look(self, session: Session, server: Apiserver, resent: int, questions: int) -> None:
        """At a session with a server that has vanished. TCP asks no questions while it has bytes to send again."""
        now, asked_at = self._clock.now, session.asked_at
        if session.server is not server or server.door != "silent" or (questions and asked_at is not None):
            return
        silence = round((now - self._packets.get(session, now)) * 1000)
        sent_at = asked_at + _RESENT[resent - 1] if asked_at is not None and resent else -math.inf
        timeouts = max(resent - 1, 0)  # The first is a tail loss probe.
        info = TcpInfo(
            retransmits=timeouts,
            probes=questions,
            rto=round(_RTO * 1e6) << timeouts,
            unacked=min(resent, 1),
            retrans=min(timeouts, 1),
            last_data_sent=round(min(now - sent_at, _LONG) * 1000),
            last_data_recv=silence,
            last_ack_recv=silence,
            total_retrans=resent,
        )
        self._told_of(session, info)

    def _look_for_answer(self, session: Session, server: Apiserver, asked_at: float) -> None:
        """At one with a server whose kernel acknowledges, and to which nothing has come since it asked."""
        now = self._clock.now
        if session.server is not server or session.asked_at != asked_at or server.door != "open":
            return
        self._balancer.acked_at[server.index] = now
        if is_asked(asked_at, session.heard_at(now), now):
            silence = round((now - asked_at) * 1000)
            self._told_of(session, TcpInfo(0, 0, round(_RTO * 1e6), 0, 0, silence, silence, silence, 0))

    def _told_of(self, session: Session, info: TcpInfo) -> None:
        now, asked_at = self._clock.now, session.asked_at
        wait = self._waits.pop(session, None) or Wait(now if asked_at is None else asked_at)
        after, finding = after_look(wait, asked_at, info, _KEEPALIVE, now)
        if after is not None:
            self._waits[session] = after
        if finding is None or session.server is None:
            return
        if finding.acknowledged:
            self._balancer.unheard(session.server.index, finding.since)
        else:
            self._balancer.unacknowledged(session.server.index, finding.since, finding.retransmissions)
