"""nginx's stream module as RKE and kubespray set it: it learns from failed connects alone, each worker for itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bench.fleet.node import Node
from bench.fleet.policies.policy import Sequential
from bench.fleet.session import Session
from bench.fleet.settings import SERVERS

_WORKERS = 2
_FAIL_TIMEOUT = 10.0
"""nginx's own, as is ``max_fails`` 1."""


class _Worker:
    def __init__(self, turn: int) -> None:
        self.failing_since = [-math.inf] * SERVERS
        self.turn = turn


class Nginx(Sequential):
    """Its workers share nothing; which one has a client is chance."""

    def __init__(self, node: Node, patience: float, least_conn: bool) -> None:
        super().__init__(node)
        self.patience = patience
        self._least_conn = least_conn
        self._workers = [_Worker(self.rng.randrange(SERVERS)) for _ in range(_WORKERS)]
        self._worker = self._workers[0]

    def first(self) -> int:
        self._worker = self.rng.choice(self._workers)
        return self._next(range(SERVERS))

    def dial(self, session: Session) -> None:
        self._worker = self.rng.choice(self._workers)
        super().dial(session)

    def pick(self, tried: Sequence[int]) -> int | None:
        now, failing_since = self.clock.now, self._worker.failing_since
        left = [i for i in range(SERVERS) if i not in tried and now - failing_since[i] > _FAIL_TIMEOUT]
        if not left:
            return None
        chosen = self._next(left)
        if failing_since[chosen] > -math.inf:
            # One client tries whether it is back; the others go elsewhere meanwhile.
            failing_since[chosen] = now
        return chosen

    def failed(self, index: int) -> None:
        self._worker.failing_since[index] = self.clock.now

    def succeeded(self, index: int) -> None:
        self._worker.failing_since[index] = -math.inf

    def _next(self, among: Sequence[int]) -> int:
        if self._least_conn:
            return self.least(among, self.node.conns)
        worker = self._worker
        chosen = min(among, key=lambda index: (index - worker.turn) % SERVERS)
        worker.turn = chosen + 1
        return chosen


def rke() -> Callable[[Node], Nginx]:
    return lambda node: Nginx(node, patience=2.0, least_conn=False)


def kubespray() -> Callable[[Node], Nginx]:
    return lambda node: Nginx(node, patience=1.0, least_conn=True)
