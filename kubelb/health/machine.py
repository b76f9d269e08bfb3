"""What the evidence makes of a server's state; pure.

A server that is dead and one that is only slow look the same to a single clock: neither answers in time. They differ
in what else is seen. The kernel of a loaded machine goes on acknowledging bytes and accepting connections, that of a
dead machine does neither; a process that has ended has its sockets reset by a kernel that lives. So each kind of
evidence is kept apart, each with what it proves, and a server is given up only for what proves its death:

    ===========  =======================================================  ==========================================
    finding      it rests on                                              it may
    ===========  =======================================================  ==========================================
    gone         bytes of a session, sent again several times, are not    cut at once
                 acknowledged, and a connect begun since is not
                 answered either
    closed       connects are refused, or unanswered while sessions       have no new session; those it has stay: a
                 are acknowledged                                         kernel that refuses would have reset them
    broken       it accepts and then resets, closes or talks nonsense     the same
    silent       it accepts, and no answer comes in time                  have no new session; cut once nothing has
                                                                          come for ``hang_timeout``, neither an answer
                                                                          nor a byte to any session
    late         it answers, later than the time limit                    have a smaller share of new sessions
    not ready    it says so                                               have no new session, and let the others go
                                                                          after ``drain_timeout``
    forbidden    it answers 403 where servers of its pool say 200: it     have no new session
                 has just started and does not know its clients yet
    not told     401, or 403 from all: we have no right to ask            be used like one that is ready
    alive        it passed its probe, or accepts where that is all that   be used
                 is asked
    ===========  =======================================================  ==========================================

Whether sessions are cut also takes the other servers into account (:mod:`kubelb.control.decide`): they need somewhere
to go. And most of a pool is never called down by silence: if most of it is silent or late at the same time, it is the
load, or our own network, and nobody would be served better elsewhere.

Evidence is of a time, and what is older than what is known already changes nothing. The states are those of
:data:`kubelb.snapshot.State` less the two that are the operator's own (disabled, and draining on demand):

- A probe that passes makes a server ``up``; one that was down or draining needs ``rise`` passes in a row. Each time
  that it went down again within a minute doubles them, up to sixteenfold: a flapping server has to prove itself for
  longer (BGP's route flap damping, RFC 2439, much reduced).
- ``fall`` failures in a row make it ``down``, if it ever passed: a probe that never passed may be what is wrong.
  Fewer make it ``suspect``. ``gone`` makes it ``down`` at once, for there was a session.
- An answer that it is not ready makes it ``draining``, if it ever passed, else ``suspect``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

from msgspec.structs import replace

from kubelb.snapshot import Condition, Finding, State

_FLAPPING = 60.0
"""Seconds during which going down once more makes coming back harder."""
_DOUBLINGS = 4
_LOST = 2
"""Retransmissions from which on a byte counts as lost for good. TCP sends again after 0.2, 0.4 and 0.8 seconds on a
short way; on a link that loses one packet in twenty, three in a row are lost once in 8,000 times."""
_QUIET = 0.5
"""Seconds without any sign of life after which a server may count as gone."""


class Kind(Enum):
    PASSED = auto()
    NOT_TOLD = auto()
    """It answered that it does not tell us (401)."""
    FORBIDDEN = auto()
    """It answered 403."""
    UNREADY = auto()
    """It answered that it is not ready; it may well serve."""
    ACCEPTED = auto()
    """It accepted a new connection; no answer was waited for yet."""
    REFUSED = auto()
    """It refused a new connection."""
    UNANSWERED = auto()
    """Nothing answered the request for a new connection, or the network could not deliver it."""
    SILENT = auto()
    """It has the connection, and did not answer in time."""
    BROKEN = auto()
    """It accepted the connection and then reset or closed it, or speaks something else."""
    UNACKNOWLEDGED = auto()
    """What a session has sent is not acknowledged."""
    UNHEARD = auto()
    """A session waits for an answer to what is acknowledged: it may be a long request, so it proves nothing."""
    DOUBT = auto()
    """A worker met a failed dial or an unexpected reset, or a probe takes its time: worth an immediate look, proof of
    nothing."""


GOOD_ANSWERS: Final = frozenset({Kind.PASSED, Kind.NOT_TOLD})
"""With these a probe has passed."""


class Evidence(NamedTuple):
    """Times are seconds of the monotonic clock."""

    kind: Kind
    at: float
    """When it was seen."""
    reason: str
    begun: float | None = None
    """When the question was put, or the session began to wait; None: at the same moment."""
    retransmissions: int = 0

    @property
    def since(self) -> float:
        return self.at if self.begun is None else self.begun


class Signs(NamedTuple):
    """The newest signs of life on a server's sessions; seconds of the monotonic clock."""

    heard_at: float
    acked_at: float


class Rules(NamedTuple):
    rise: int
    fall: int
    timeout: float = 3.0
    """Seconds after which an answer is late."""
    crowd: bool = False
    """Most of the pool, this server included, would be silent or late."""
    asks_readiness: bool = False
    """An answer tells whether the server is ready, not only that it is there."""
    readiness_seen: bool = False
    """A server of the pool has answered 200, so whoever has started fully tells us."""


def noted(condition: Condition, signs: Signs) -> Condition:
    """The condition with what the sessions have shown meanwhile."""
    heard, acked = max(condition.heard_at, signs.heard_at), max(condition.acked_at, signs.acked_at)
    if (heard, acked) == (condition.heard_at, condition.acked_at):
        return condition
    condition = replace(condition, heard_at=heard, acked_at=acked)
    if condition.unacked_since is None or condition.alive_at <= condition.unacked_since:
        return condition
    condition = replace(condition, unacked_since=None, retransmissions=0)
    # Its kernel lives; whether it takes newcomers is for the next look to say.
    return _found(condition, "closed", condition.alive_at) if condition.finding == "gone" else condition


def after(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    """The server's condition with one more piece of evidence."""
    if evidence.at < condition.seen_at:
        return condition
    return _AFTER[evidence.kind](replace(condition, seen_at=evidence.at), evidence, rules)


def passes_needed(condition: Condition, rules: Rules, now: float) -> int:
    """In a row, for a server that is not up to be up again."""
    if condition.state not in ("down", "draining"):
        return 1
    recent = sum(now - down < _FLAPPING for down in condition.downs)
    return rules.rise << min(max(recent - 1, 0), _DOUBLINGS)


def is_behind(condition: Condition) -> bool:
    """Whether it does not answer in time: load, or a network of ours that is away, does that to many at once."""
    return condition.finding in ("silent", "late")


def is_crowd(others: Sequence[Condition]) -> bool:
    """Whether most of a pool would be behind with one more than those of the others that are."""
    return (sum(map(is_behind, others)) + 1) * 2 > len(others) + 1


def _after_pass(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    seconds = evidence.at - evidence.since
    finding: Finding = "not told" if evidence.kind in (Kind.NOT_TOLD, Kind.FORBIDDEN) else "alive"
    passed = _lives(condition, evidence, seconds)
    if rules.asks_readiness:
        passed = replace(passed, readiness_visible=finding != "not told")
    if seconds > rules.timeout:
        finding = "late"
    passed = replace(passed, passes=condition.passes + 1, fails=0, proven=True)
    needed = passes_needed(condition, rules, evidence.at)
    if passed.passes < needed:
        return replace(passed, reason=f"{passed.passes} of {needed} passes: {evidence.reason}")
    harmed = condition.harm_from is not None
    passed = replace(
        passed,
        back_at=evidence.at if condition.state == "down" else condition.back_at,
        harm_from=None,
        good_at=max(condition.good_at, evidence.since),
        good_since=evidence.at if harmed else condition.good_since,
    )
    return _become(_found(passed, finding, evidence.at), "up", evidence)


def _after_forbidden(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    if not rules.readiness_seen:
        return _after_pass(condition, evidence, rules)
    answered = _harmed(_lives(condition, evidence, evidence.at - evidence.since), evidence)
    answered = replace(answered, passes=0, fails=0)
    return _become(_found(answered, "forbidden", evidence.at), "suspect", evidence)


def _after_unready(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    answered = _harmed(_lives(condition, evidence, evidence.at - evidence.since), evidence)
    answered = replace(answered, passes=0, fails=0, readiness_visible=True)
    state: State = "draining" if condition.proven else "suspect"
    return _become(_found(answered, "not ready", evidence.at), state, evidence)


def _lives(condition: Condition, evidence: Evidence, seconds: float) -> Condition:
    """It has answered."""
    return replace(_acknowledges(condition), answered_at=evidence.at, answered_in=seconds, unheard_since=None)


def _acknowledges(condition: Condition) -> Condition:
    """Its kernel has: nothing that is under way counts as lost."""
    return replace(condition, unacked_since=None, retransmissions=0)


def _after_accepted(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    accepted = replace(_acknowledges(condition), door="open", door_at=evidence.since)
    return _found(accepted, "closed", evidence.at) if accepted.finding == "gone" else accepted


def _after_refused(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    refused = replace(_acknowledges(condition), door="refused", door_at=evidence.since)
    return _failed(refused, "closed", evidence, rules)


def _after_unanswered(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    if condition.door in ("open", "refused") and condition.door_at > evidence.since:
        # A connect begun later has met somebody: this one was lost on its way.
        return condition
    unanswered = replace(condition, door="unanswered", door_at=max(condition.door_at, evidence.since))
    failed = _failed(unanswered, "gone" if condition.finding == "gone" else "closed", evidence, rules)
    return _maybe_gone(failed, evidence)


def _after_broken(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    return _failed(replace(_acknowledges(condition), door="open", door_at=evidence.since), "broken", evidence, rules)


def _after_silent(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    if rules.crowd:
        silent = replace(_harmed(condition, evidence), passes=0, fails=condition.fails + 1)
        state: State = "draining" if condition.state == "draining" else "suspect"
        return _become(_found(silent, "silent", evidence.at), state, evidence)
    return _failed(condition, "silent", evidence, rules)


def _failed(condition: Condition, finding: Finding, evidence: Evidence, rules: Rules) -> Condition:
    failed = _found(_harmed(condition, evidence), finding, evidence.at)
    failed = replace(failed, passes=0, fails=condition.fails + 1)
    if condition.state == "down" or (condition.proven and failed.fails >= rules.fall):
        return _go_down(failed, evidence)
    return _become(failed, "draining" if condition.state == "draining" else "suspect", evidence)


def _after_unacknowledged(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    # What another session has shown since then is newer: it is from there on that nothing may come.
    since = max(evidence.since, condition.alive_at)
    unacked = replace(condition, unacked_since=since, retransmissions=evidence.retransmissions)
    if evidence.retransmissions >= _LOST:
        unacked = _harmed(unacked, evidence)
    return _maybe_gone(_after_doubt(unacked, evidence, rules), evidence)


def _maybe_gone(condition: Condition, evidence: Evidence) -> Condition:
    since = condition.unacked_since
    if (
        since is None
        or condition.retransmissions < _LOST
        or condition.door != "unanswered"
        or condition.door_at < since
        or evidence.at - since < _QUIET
    ):
        return condition
    lost = f"nothing acknowledged for {evidence.at - since:.1f} s, and no answer to connect"
    return _go_down(_found(condition, "gone", evidence.at), evidence._replace(reason=lost))


def _after_unheard(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    since = max(evidence.since, condition.heard_at, condition.answered_at)
    waiting = replace(_acknowledges(condition), unheard_since=since)
    # Where other sessions hear from it, it is a long request of this one.
    return waiting if since > evidence.since else _after_doubt(waiting, evidence, rules)


def _after_doubt(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    if condition.state in ("unknown", "up"):
        return _become(replace(condition, passes=0), "suspect", evidence)
    return condition


def _harmed(condition: Condition, evidence: Evidence) -> Condition:
    """Something speaks against it; since when is from the first on that did."""
    if condition.harm_from is not None:
        return condition
    waiting = condition.unheard_since
    since = evidence.since if waiting is None else min(evidence.since, waiting)
    return replace(condition, harm_from=since)


def _found(condition: Condition, finding: Finding, at: float) -> Condition:
    return condition if condition.finding == finding else replace(condition, finding=finding, found_at=at)


def _go_down(condition: Condition, evidence: Evidence) -> Condition:
    if condition.state != "down":
        recent = tuple(down for down in condition.downs if evidence.at - down < _FLAPPING)
        condition = replace(condition, downs=(*recent, evidence.at)[-_DOUBLINGS - 1 :])
    return _become(condition, "down", evidence)


def _become(condition: Condition, state: State, evidence: Evidence) -> Condition:
    since = condition.since if state == condition.state else evidence.at
    return replace(condition, state=state, since=since, reason=evidence.reason)


_AFTER = {
    Kind.PASSED: _after_pass,
    Kind.NOT_TOLD: _after_pass,
    Kind.FORBIDDEN: _after_forbidden,
    Kind.UNREADY: _after_unready,
    Kind.ACCEPTED: _after_accepted,
    Kind.REFUSED: _after_refused,
    Kind.UNANSWERED: _after_unanswered,
    Kind.SILENT: _after_silent,
    Kind.BROKEN: _after_broken,
    Kind.UNACKNOWLEDGED: _after_unacknowledged,
    Kind.UNHEARD: _after_unheard,
    Kind.DOUBT: _after_doubt,
}
