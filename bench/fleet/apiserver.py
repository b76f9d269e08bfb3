"""A simulated apiserver: a kernel that accepts or does not, and a process that answers once it has a core."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal

from bench.fleet.cores import Cores
from bench.fleet.settings import BACKGROUND, BACKGROUND_REQUEST, HANDSHAKE, REQUEST, ROUND_TRIP

if TYPE_CHECKING:
    from bench.fleet.session import Session

Door = Literal["open", "refuses", "silent"]
"""What a connect meets: silent is a machine whose packets vanish."""


class Apiserver:
    """Begins up and ready. ``life`` grows whenever it loses what it had to do: answers promised before never come."""

    def __init__(self, index: int, cores: int, rng: random.Random) -> None:
        self.index = index
        self.door: Door = "open"
        self.status = 200
        """Of /readyz."""
        self.life = 0
        self.closings = 0
        """How often it has closed all its connections; those with a machine that vanishes seem to be there still."""
        self.dearth = 1.0
        """How many times more a request costs than it does normally."""
        self.sessions: dict[Session, None] = {}
        """Established with it, in the order they came."""
        self._count = cores
        self._cores = Cores(cores)
        self._rng = rng
        self._rate = BACKGROUND * cores / BACKGROUND_REQUEST
        self._next = rng.expovariate(self._rate)

    def asked(self, now: float, requests: int = 1) -> float:
        """When the last of so many requests, put at once on connections that are there, is answered; infinity:
        never, as things are."""
        if self.door != "open":
            return math.inf
        self._catch_up(now)
        cost = REQUEST * self.dearth
        return max(self._cores.take(now, cost) for _ in range(requests)) + ROUND_TRIP

    def greeted(self, now: float) -> float:
        """When a TLS handshake begun now is done."""
        return self._worked(now, HANDSHAKE)

    def probed_anew(self, now: float) -> float:
        """When a handshake and a request on it are done."""
        return self._worked(now, HANDSHAKE + REQUEST * self.dearth)

    def wait(self, now: float) -> float:
        """How long a request that comes now waits for a core."""
        self._catch_up(now)
        return self._cores.wait(now)

    def vanish(self) -> None:
        self.door = "silent"
        self.life += 1

    def stop(self) -> None:
        self.door = "refuses"
        self.life += 1
        self.closings += 1

    def start(self, now: float) -> None:
        self.door = "open"
        self._cores = Cores(self._count, now)
        self._next = now + self._rng.expovariate(self._rate)

    def _worked(self, now: float, seconds: float) -> float:
        if self.door != "open":
            return math.inf
        self._catch_up(now)
        return self._cores.take(now, seconds) + 2 * ROUND_TRIP

    def _catch_up(self, now: float) -> None:
        """With the requests of everybody else that came before."""
        rng, rate, take = self._rng, self._rate, self._cores.take
        mean = 1 / (BACKGROUND_REQUEST * self.dearth)
        while self._next < now:
            take(self._next, rng.expovariate(mean))
            self._next += rng.expovariate(rate)
