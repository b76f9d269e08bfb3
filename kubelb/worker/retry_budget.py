"""How many clients may be given a second server within a while; pure.

Under overload all servers answer late, and a second handshake for each client would double what they have to do. So
a share of the clients may have one and no more: a retry budget, as in Finagle (``RetryBudget``: a fifth of the
requests of the last 10 seconds) and Envoy (``retry_budget`` in its circuit breakers: a fifth, and three in any case).
The few that are always allowed are for a node on which little happens: its only new client may be the one that needs
a second server. Times are seconds of one clock, which never goes back.
"""

from __future__ import annotations

from collections import deque

WINDOW = 10.0
"""Seconds that are looked back upon."""
SHARE = 0.2
"""Of the clients that came within the window."""
LEAST = 3
"""Within the window, however few came."""


class RetryBudget:
    """The budget of one relay thread."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, int]] = deque()
        self._clients = 0
        self._spent: deque[float] = deque()

    def came(self, clients: int, now: float) -> None:
        """So many more might need a second server."""
        self._forget(now - WINDOW)
        self._came.append((now, clients))
        self._clients += clients

    def has_room(self, now: float) -> bool:
        """Whether one more may have one."""
        self._forget(now - WINDOW)
        return len(self._spent) + 1 <= max(LEAST, self._clients * SHARE)

    def spend(self, now: float) -> None:
        """One has got one."""
        self._spent.append(now)

    def _forget(self, since: float) -> None:
        while self._came and self._came[0][0] <= since:
            self._clients -= self._came.popleft()[1]
        while self._spent and self._spent[0] <= since:
            self._spent.popleft()
