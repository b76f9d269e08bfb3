"""The balancer in the agent of k3s and rke2: all sessions on one server, whose health is a tunnel to it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.fleet.apiserver import Apiserver
from bench.fleet.node import Node
from bench.fleet.policies.policy import Sequential
from bench.fleet.settings import SERVERS

_POLL = 1.0
"""Seconds between two looks at the tunnels (pkg/agent/loadbalancer/servers.go)."""
_PING = 5.0
"""Seconds between two pings of a tunnel (rancher/remotedialer, types.go)."""
_PING_WAIT = 10.0
"""After so long without one the tunnel is closed."""
_RECONNECT = 3.0
"""Seconds after which an agent builds a tunnel again; another two good looks, and the server is used."""


class K3s(Sequential):
    """It does not balance: the server that is active has all connections until it fails, and then loses all."""

    patience = 10.0

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._order = self.rng.sample(range(SERVERS), SERVERS)
        """The active server first."""
        self._failed = [False] * SERVERS

    def first(self) -> int:
        return self._order[0]

    def pick(self, tried: Sequence[int]) -> int | None:
        left = [index for index in self._order if index not in tried]
        return next((index for index in left if not self._failed[index]), left[0] if left else None)

    def failed(self, index: int) -> None:
        self._lose(index)

    def succeeded(self, index: int) -> None:
        self._order.remove(index)
        self._order.insert(0, index)

    def start(self) -> None:
        self._phase = self.rng.random() * _POLL

    def stopped(self, server: Apiserver) -> None:
        """Its supervisor ends with it, and closes the tunnel."""
        self._look_later(server, 0.0)

    def vanished(self, server: Apiserver) -> None:
        self._look_later(server, _PING_WAIT - self.rng.random() * _PING)

    def _look_later(self, server: Apiserver, seconds: float) -> None:
        self.clock.at(self.clock.now + seconds + self.rng.random() * _POLL, self._look, server.index)

    def _look(self, index: int) -> None:
        if self.server(index).door != "open":
            self._lose(index)
            self.clock.at(self.clock.now + _RECONNECT, self._try_tunnel, index)

    def _try_tunnel(self, index: int) -> None:
        if self.server(index).door != "open":
            self.clock.at(self.clock.now + _RECONNECT, self._try_tunnel, index)
        else:
            self.clock.at(self.clock.now + 2 * _POLL, self._recover, index)

    def _recover(self, index: int) -> None:
        self._failed[index] = self.server(index).door != "open"

    def _lose(self, index: int) -> None:
        self._failed[index] = True
        self._order.remove(index)
        self._order.append(index)
        self.cut_all(index)
