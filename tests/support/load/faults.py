"""What was done to servers and processes meanwhile, and which failures of clients that explains. Pure.

Killed servers and killed workers end the sessions they had, by a reset or by an early end, and nothing else. A worker
that the system withholds something from may end sessions of its own meanwhile, likewise. Nothing else may be felt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.load.records import Failure


@dataclass(frozen=True)
class _Fault:
    since: float
    """Seconds of the monotonic clock."""
    until: float
    """No connection that began later is concerned."""

    def _cut(self, failure: Failure) -> bool:
        return failure.began <= self.until and failure.at >= self.since and failure.how in ("reset", "ended")


@dataclass(frozen=True)
class ServerKilled(_Fault):
    server: str
    """By name."""

    def explains(self, failure: Failure) -> bool:
        return self._cut(failure) and failure.server in (self.server, None)


@dataclass(frozen=True)
class WorkerKilled(_Fault):
    ports: frozenset[int]
    """Of the clients it had."""

    def explains(self, failure: Failure) -> bool:
        return self._cut(failure) and failure.port in self.ports


_SOON = 2.0
"""Seconds until a client has noticed that its session has been cut."""


@dataclass(frozen=True)
class WorkerShort(_Fault):
    """Something it needs was not to be had: each session that needed it may be cut, and none may be left hanging."""

    ports: frozenset[int]
    """Of the clients it had. Of those that came later nobody knows whose they are."""

    def explains(self, failure: Failure) -> bool:
        is_its = failure.port in self.ports or failure.began >= self.since - _SOON
        return self._cut(failure) and failure.at <= self.until + _SOON and is_its


Fault = ServerKilled | WorkerKilled | WorkerShort


def unexplained(failures: Iterable[Failure], faults: Iterable[Fault]) -> list[Failure]:
    """Those that no fault explains."""
    known = list(faults)
    return [failure for failure in failures if not any(fault.explains(failure) for fault in known)]
