"""What is known of the servers that are watched: evidence comes in, and a condition of each is what it comes to.

On control's loop. What the evidence means is pure (:mod:`kubelb.health.machine`); here it meets the signs of life
that workers leave in the shared counters, and the other servers of the pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from kubelb.config.model import pools as configured
from kubelb.health.machine import Evidence, Kind, Rules, Signs, after, is_crowd, noted
from kubelb.snapshot import Condition, Server
from kubelb.stats import Count, Table

_ASKING: Final = ("https", "http")
"""Probes that ask whether a server is ready."""


class Subject(NamedTuple):
    """A server that is watched."""

    pool: str
    server: Server
    health: configured.Health


class Change(NamedTuple):
    """What evidence has made of a server's condition."""

    before: Condition
    after: Condition

    @property
    def of_trouble(self) -> bool:
        """The server has got into trouble, or out of it."""
        return _is_in_trouble(self.before) != _is_in_trouble(self.after)


class Conditions:
    """All by the servers' slots."""

    def __init__(self, table: Table) -> None:
        self.subjects: dict[int, Subject] = {}
        self.known: dict[int, Condition] = {}
        self._table = table
        self._readiness_seen: set[str] = set()
        """The pools of which a server has answered that it is ready."""

    def begin(self, subject: Subject) -> None:
        """With what is known of the server from before."""
        self.subjects[subject.server.slot] = subject
        self.known.setdefault(subject.server.slot, _inherited(subject.server))

    def end(self, slot: int, now: float, becomes: Subject | None) -> None:
        """The server is not watched like this any more; ``becomes`` is how it will be, None: not at all."""
        before = self.subjects.pop(slot)
        if becomes is None:
            del self.known[slot]
        elif becomes.health.probe == "off" != before.health.probe:
            # Without probes there is nothing to say against it.
            self.known[slot] = Condition(since=now)

    def others(self, subject: Subject) -> Iterator[int]:
        """The slots of the other servers of its pool."""
        own = subject.server.slot
        return (slot for slot, other in self.subjects.items() if other.pool == subject.pool and slot != own)

    def note_signs(self) -> None:
        """Take note of what sessions have shown meanwhile, of all servers."""
        self.known = {slot: noted(condition, self._signs(slot)) for slot, condition in self.known.items()}

    def consider(self, slot: int, evidence: Evidence) -> Change:
        """With what sessions have shown meanwhile."""
        self.note_signs()
        subject, before = self.subjects[slot], self.known[slot]
        condition = self.known[slot] = after(before, evidence, self._rules(subject))
        if evidence.kind is Kind.PASSED and subject.health.probe in _ASKING:
            self._readiness_seen.add(subject.pool)
        return Change(before, condition)

    def _rules(self, subject: Subject) -> Rules:
        health = subject.health
        return Rules(
            rise=health.rise,
            fall=health.fall,
            timeout=health.timeout,
            crowd=is_crowd([self.known[slot] for slot in self.others(subject)]),
            asks_readiness=health.probe in _ASKING,
            readiness_seen=subject.pool in self._readiness_seen,
        )

    def _signs(self, slot: int) -> Signs:
        heard, acked = (self._table.latest(slot, word) for word in (Count.HEARD_AT, Count.ACKED_AT))
        return Signs(heard / 1e9 or -math.inf, acked / 1e9 or -math.inf)


def _is_in_trouble(condition: Condition) -> bool:
    return condition.harm_from is not None or condition.unacked_since is not None


def _inherited(server: Server) -> Condition:
    """What a control process before this one knew: it has gone, the servers have not."""
    if server.drained:
        return Condition(proven=server.proven)
    return server.known or Condition(
        state=server.state,
        since=server.since,
        reason=server.reason,
        proven=server.proven,
        back_at=server.ramp_from,
    )
