"""HAProxy as kubespray sets it, and as good as we could make it. Each of its checks is a TLS handshake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.fleet.apiserver import Apiserver
from bench.fleet.node import Node
from bench.fleet.policies.policy import Sequential
from bench.fleet.session import Session
from bench.fleet.settings import ROUND_TRIP, SERVERS


class Options(NamedTuple):
    """In HAProxy's own names. Seconds."""

    inter: float
    fastinter: float
    downinter: float
    rise: int
    check_connect: float
    """As long as a check's connect may take: the shorter of ``timeout connect`` and ``inter``."""
    check: float
    connect: float
    retries: int
    redispatch_at_once: bool
    readyz: bool
    """It asks /readyz, not /healthz, which stays well while a server shuts down."""
    shutdown_sessions: bool
    tcp_ut: float = math.inf
    fall: int = 2


KUBESPRAY = Options(15, 15, 15, 2, 15, 30, 30, 5, False, False, False)
"""roles/kubernetes/node/templates/loadbalancer/haproxy.cfg.j2"""
TUNED = Options(1, 0.5, 1, 1, 0.25, 1, 0.25, 3, True, True, True, tcp_ut=5)
"""The same as in ``bench/failover/peers/haproxy.py``, but for its slow start."""


class _Check:
    """What is known of a server."""

    def __init__(self) -> None:
        self.up = True
        self.streak = 0
        """Results in a row that speak against what is known."""
        self.number = 0
        """Of checks begun."""


class Haproxy(Sequential):
    def __init__(self, node: Node, options: Options) -> None:
        super().__init__(node)
        self._options = options
        self.patience = options.connect
        self.tries = options.retries + 1
        if not options.redispatch_at_once:
            # The same server is tried again after a second each time, another one as the last resort.
            self.retry_after = 1.0
        self._checks = [_Check() for _ in range(SERVERS)]

    def start(self) -> None:
        for index in range(SERVERS):
            self.clock.at(self.rng.random() * self._options.inter, self._check, index, 0)

    def pick(self, tried: Sequence[int]) -> int | None:
        up = [index for index in range(SERVERS) if self._checks[index].up]
        again = not self._options.redispatch_at_once and tried and len(tried) < self.tries - 1
        if again and tried[-1] in up:
            return tried[-1]
        left = [index for index in up if index not in tried] or up
        return self.least(left, self.node.conns) if left else None

    def failed(self, index: int) -> None:
        if self._options.fastinter < self._options.inter and self._checks[index].up:
            # observe layer4, on-error fastinter
            self._plan(index, self._options.fastinter)

    def asked(self, session: Session, answered_at: float) -> None:
        if answered_at == math.inf and self._options.tcp_ut < math.inf:
            self.clock.at(self.clock.now + self._options.tcp_ut, self._unacknowledged, session, session.asked_at)

    def _unacknowledged(self, session: Session, since: float) -> None:
        """TCP has given the connection up."""
        if session.asked_at == since and session.server is not None and session.server.door == "silent":
            session.end()

    def _plan(self, index: int, wait: float) -> None:
        check = self._checks[index]
        check.number += 1
        self.clock.at(self.clock.now + wait, self._check, index, check.number)

    def _check(self, index: int, number: int) -> None:
        check = self._checks[index]
        if number != check.number:
            return
        server, now, options = self.server(index), self.clock.now, self._options
        self.world.probed(server, anew=True)
        if server.door == "open":
            answered_at = min(server.probed_anew(now), now + options.check)
        else:
            answered_at = now + (ROUND_TRIP if server.door == "refuses" else options.check_connect)
        self.clock.at(answered_at, self._answered, index, number, server.life, answered_at < now + options.check)

    def _answered(self, index: int, number: int, life: int, in_time: bool) -> None:
        check, server, options = self._checks[index], self.server(index), self._options
        if number != check.number:
            return
        well = in_time and life == server.life and server.door == "open"
        well = well and (server.status == 200 or not options.readyz)
        check.streak = check.streak + 1 if well != check.up else 0
        if check.streak >= (options.fall if check.up else options.rise):
            check.up, check.streak = not check.up, 0
            if not check.up and options.shutdown_sessions:
                self.cut_all(index)
        settled = options.inter if check.up else options.downinter
        self._plan(index, options.fastinter if check.streak else settled)

    def vanished(self, server: Apiserver) -> None:
        """It learns that by its checks."""


def running(options: Options) -> Callable[[Node], Haproxy]:
    return lambda node: Haproxy(node, options)
