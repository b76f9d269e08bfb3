"""What is counted while a simulation runs; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_FEW = 0.01
"""So small a part of the nodes may be without service."""


class Tally:
    """Handshakes and probes by second and server, cuts, and how long nodes were not served."""

    def __init__(self, nodes: int) -> None:
        self.client_handshakes: Counter[tuple[int, int]] = Counter()
        """By server and second, like the next two."""
        self.probe_handshakes: Counter[tuple[int, int]] = Counter()
        self.probes: Counter[tuple[int, int]] = Counter()
        """Those to servers that are away are a load on nobody, and not counted."""
        self.cuts = 0
        """Sessions that the balancer ended."""
        self.needless = 0
        """Those of them whose server would have gone on serving."""
        self._nodes = nodes
        self.unserved = 0
        """Nodes."""
        self._since: float | None = None
        """Since when more than a few nodes have not been served."""
        self._longest = 0.0

    def lost(self, now: float) -> None:
        """A node is not served any more."""
        self.unserved += 1
        if self._since is None and self.unserved > _FEW * self._nodes:
            self._since = now

    def served(self, now: float) -> None:
        """It is again."""
        self.unserved -= 1
        if self._since is not None and self.unserved <= _FEW * self._nodes:
            self._longest = max(self._longest, now - self._since)
            self._since = None

    def outage(self, now: float) -> tuple[float, bool]:
        """The longest time in which more than one node in a hundred was not served; and whether it goes on now."""
        if self._since is None:
            return self._longest, False
        return max(self._longest, now - self._since), now - self._since >= self._longest


def peak(counts: Counter[tuple[int, int]], servers: Iterable[int], begin: int, end: int) -> int:
    """The most in one second of all these servers together."""
    among = set(servers)
    sums: Counter[int] = Counter()
    for (server, second), number in counts.items():
        if server in among and begin <= second < end:
            sums[second] += number
    return max(sums.values(), default=0)


def total(counts: Counter[tuple[int, int]], begin: int, end: int) -> int:
    return sum(number for (_, second), number in counts.items() if begin <= second < end)
