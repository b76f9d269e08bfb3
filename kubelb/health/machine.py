"""What the evidence makes of a server's state; pure.

Probes and the workers' own dials are evidence, each as of a time; evidence older than what is known already changes
nothing, so whatever order it comes in, a server is ``up`` only if the newest is good. The states are those of
:data:`kubelb.snapshot.State` less the two that are the operator's own (disabled, and draining on demand):

    ==========  =====================  =====================  =====================  ==========
    state       PASSED                 UNREADY                FAILED                 DOUBT
    ==========  =====================  =====================  =====================  ==========
    unknown     up                     suspect                suspect                suspect
    up          up                     draining               suspect, down [1]_     suspect
    suspect     up                     draining, suspect [2]_ suspect, down [1]_     suspect
    draining    draining, up [3]_      draining               draining, down [1]_    draining
    down        down, up [3]_          draining               down                   down
    ==========  =====================  =====================  =====================  ==========

.. [1] down with ``fall`` failures in a row, if it ever passed: a probe that never passed may be what is wrong.
.. [2] draining if it ever passed, else suspect, for the same reason.
.. [3] up with ``rise`` passes in a row. Each further time that it went down within a minute doubles them, up to
   sixteenfold: a flapping server has to prove itself for longer (BGP's route flap damping, RFC 2439, much reduced).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import NamedTuple

from kubelb.snapshot import State

_FLAPPING = 60.0
"""Seconds during which going down once more makes coming back harder."""
_DOUBLINGS = 4


class Kind(Enum):
    PASSED = auto()
    UNREADY = auto()
    """It answered that it is not ready; it may well serve."""
    FAILED = auto()
    DOUBT = auto()
    """A worker met a failed dial or an unexpected reset: worth an immediate look, proof of nothing."""


class Evidence(NamedTuple):
    kind: Kind
    at: float
    """When it was seen; seconds of the monotonic clock."""
    reason: str


class Rules(NamedTuple):
    rise: int
    fall: int


@dataclass(frozen=True)
class Condition:
    """What is known of one server. Times are seconds of the monotonic clock."""

    state: State = "unknown"
    since: float = 0.0
    reason: str = ""
    passes: int = 0
    """In a row."""
    fails: int = 0
    """In a row."""
    proven: bool = False
    """Whether it ever passed a probe."""
    seen_at: float = -math.inf
    """Of the newest evidence."""
    downs: tuple[float, ...] = ()
    """When it went down, within the last minute before it last did."""
    back_at: float | None = None
    """When it last came up after having been down."""


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


def _after_pass(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    passed = replace(condition, passes=condition.passes + 1, fails=0, proven=True)
    needed = passes_needed(condition, rules, evidence.at)
    if passed.passes < needed:
        return replace(passed, reason=f"{passed.passes} of {needed} passes: {evidence.reason}")
    back_at = evidence.at if condition.state == "down" else condition.back_at
    return _become(replace(passed, back_at=back_at), "up", evidence)


def _after_unready(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    answered = replace(condition, passes=0, fails=0)
    return _become(answered, "draining" if condition.proven else "suspect", evidence)


def _after_failure(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    failed = replace(condition, passes=0, fails=condition.fails + 1)
    if condition.proven and (condition.state == "down" or failed.fails >= rules.fall):
        return _go_down(failed, evidence)
    return _become(failed, "draining" if condition.state == "draining" else "suspect", evidence)


def _go_down(condition: Condition, evidence: Evidence) -> Condition:
    if condition.state != "down":
        recent = tuple(down for down in condition.downs if evidence.at - down < _FLAPPING)
        condition = replace(condition, downs=(*recent, evidence.at)[-_DOUBLINGS - 1 :])
    return _become(condition, "down", evidence)


def _after_doubt(condition: Condition, evidence: Evidence, rules: Rules) -> Condition:
    if condition.state in ("unknown", "up"):
        return _become(replace(condition, passes=0), "suspect", evidence)
    return condition


def _become(condition: Condition, state: State, evidence: Evidence) -> Condition:
    since = condition.since if state == condition.state else evidence.at
    return replace(condition, state=state, since=since, reason=evidence.reason)


_AFTER = {
    Kind.PASSED: _after_pass,
    Kind.UNREADY: _after_unready,
    Kind.FAILED: _after_failure,
    Kind.DOUBT: _after_doubt,
}
