from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubelb.health.machine import Condition, Evidence, Kind, Rules, after, passes_needed
from kubelb.snapshot import State

RULES = Rules(rise=1, fall=2)


def told(*kinds: Kind, rules: Rules = RULES, condition: Condition | None = None, start: float = 1.0) -> Condition:
    """The condition after these, a second apart."""
    condition = condition or Condition()
    for i, kind in enumerate(kinds):
        condition = after(condition, Evidence(kind, start + i, kind.name), rules)
    return condition


P, U, F, D = Kind.PASSED, Kind.UNREADY, Kind.FAILED, Kind.DOUBT


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ([], "unknown"),
        ([P], "up"),
        ([F], "suspect"),
        ([F] * 50, "suspect"),
        ([U] * 50, "suspect"),
        ([D], "suspect"),
        ([F, P], "up"),
        ([P, D], "suspect"),
        ([P, D, P], "up"),
        ([P, D, D, D, D], "suspect"),
        ([P, F], "suspect"),
        ([P, F, P], "up"),
        ([P, F, P, F, P, F], "suspect"),
        ([P, F, F], "down"),
        ([P, D, F], "suspect"),
        ([P, D, F, F], "down"),
        ([P, F, F, D], "down"),
        ([P, F, F, P], "up"),
        ([P, U], "draining"),
        ([P, U, D], "draining"),
        ([P, U, F], "draining"),
        ([P, U, F, F], "down"),
        ([P, U, F, U, F], "draining"),
        ([P, U, P], "up"),
        ([P, F, F, U], "draining"),
        ([P, F, F, U, P], "up"),
    ],
)
def test_the_table(kinds: list[Kind], state: State) -> None:
    condition = told(*kinds)
    assert condition.state == state
    assert condition.reason == (kinds[-1].name if kinds and kinds[-1] is not D else condition.reason)


NEVER = -math.inf


@pytest.mark.parametrize(
    ("kinds", "condition"),
    [
        ([], Condition("unknown", 0.0, "", 0, 0, False, NEVER, (), None)),
        ([P], Condition("up", 1.0, "PASSED", 1, 0, True, 1.0)),
        ([P, P], Condition("up", 1.0, "PASSED", 2, 0, True, 2.0)),
        ([P, D], Condition("suspect", 2.0, "DOUBT", 0, 0, True, 2.0)),
        ([P, F], Condition("suspect", 2.0, "FAILED", 0, 1, True, 2.0)),
        ([P, F, P], Condition("up", 3.0, "PASSED", 1, 0, True, 3.0)),
        ([P, U], Condition("draining", 2.0, "UNREADY", 0, 0, True, 2.0)),
        ([P, U, D], Condition("draining", 2.0, "UNREADY", 0, 0, True, 3.0)),
        ([P, U, P], Condition("up", 3.0, "PASSED", 1, 0, True, 3.0)),
        ([F, U], Condition("suspect", 1.0, "UNREADY", 0, 0, False, 2.0)),
        ([P, F, F], Condition("down", 3.0, "FAILED", 0, 2, True, 3.0, (3.0,))),
        ([P, F, F, F], Condition("down", 3.0, "FAILED", 0, 3, True, 4.0, (3.0,))),
        ([P, F, F, P, F, F], Condition("down", 6.0, "FAILED", 0, 2, True, 6.0, (3.0, 6.0), 4.0)),
    ],
)
def test_all_that_is_known_of_a_server(kinds: list[Kind], condition: Condition) -> None:
    assert told(*kinds) == condition


def test_how_far_a_server_is_on_its_way_back_is_its_reason() -> None:
    rules = Rules(rise=3, fall=1)
    assert told(P, F, P, rules=rules).reason == "1 of 3 passes: PASSED"
    assert told(P, F, P, P, rules=rules).reason == "2 of 3 passes: PASSED"


def test_what_was_a_minute_ago_is_forgotten() -> None:
    rules = Rules(rise=1, fall=1)
    back = told(P, F, P, rules=rules)
    assert back.downs == (2.0,)
    assert told(F, condition=back, start=61.9, rules=rules).downs == (2.0, 61.9)
    assert told(F, condition=back, start=62.0, rules=rules).downs == (62.0,)
    down = told(F, condition=back, start=50.0, rules=rules)
    assert [passes_needed(down, rules, now) for now in (61.9, 62.0)] == [2, 1]


def test_since_is_when_the_state_began() -> None:
    assert told(P, P, P).since == 1.0
    assert told(P, P, F, F).since == 4.0
    assert told(P, P, F, F, F).since == 4.0


def test_coming_back_takes_rise_passes_in_a_row() -> None:
    rules = Rules(rise=3, fall=1)
    down = told(P, P, P, F, rules=rules)
    assert down.state == "down"
    assert told(P, P, condition=down, start=10, rules=rules).state == "down"
    assert told(P, P, F, P, P, condition=down, start=10, rules=rules).state == "down"
    back = told(P, P, P, condition=down, start=10, rules=rules)
    assert (back.state, back.back_at) == ("up", 12)


def test_one_that_was_not_ready_needs_rise_passes_in_a_row_too() -> None:
    rules = Rules(rise=2, fall=2)
    assert told(P, U, P, rules=rules).state == "draining"
    assert told(P, U, P, F, P, rules=rules).state == "draining"
    assert told(P, U, P, P, rules=rules).state == "up"
    assert told(P, U, P, P, rules=rules).back_at is None


def test_doubt_that_passes_is_no_coming_back() -> None:
    assert told(P, D, P).back_at is None
    assert told(P, F, P).back_at is None


def test_a_flapping_server_has_to_prove_itself_for_longer() -> None:
    rules, condition, at, needed = Rules(rise=1, fall=1), told(P), 2.0, []
    for _ in range(8):
        condition = after(condition, Evidence(F, at, ""), rules)
        needed.append(passes_needed(condition, rules, at))
        for _ in range(needed[-1]):
            assert condition.state == "down"
            at += 0.1
            condition = after(condition, Evidence(P, at, ""), rules)
        assert condition.state == "up"
        at += 0.1
    assert needed == [1, 2, 4, 8, 16, 16, 16, 16]
    assert len(condition.downs) == 5
    calm = after(condition, Evidence(F, at + 60, ""), rules)
    assert passes_needed(calm, rules, at + 60) == 1


evidence = st.builds(Evidence, st.sampled_from(Kind), st.floats(0, 300), st.just("because"))
rulebooks = st.builds(Rules, st.integers(1, 4), st.integers(1, 4))


@given(st.lists(evidence, max_size=30), rulebooks)
def test_what_is_older_than_what_is_known_changes_nothing(pieces: list[Evidence], rules: Rules) -> None:
    """So the order in which pieces arrive matters only as far as late ones are not counted."""
    arrived, in_order, newest = Condition(), Condition(), -1.0
    for piece in pieces:
        arrived = after(arrived, piece, rules)
        if piece.at >= newest:
            newest = piece.at
            in_order = after(in_order, piece, rules)
    assert arrived == in_order


@given(st.lists(evidence, min_size=1, max_size=30), rulebooks)
def test_up_means_that_the_newest_evidence_is_good(pieces: list[Evidence], rules: Rules) -> None:
    condition = Condition()
    for piece in pieces:
        condition = after(condition, piece, rules)
    newest = max(piece.at for piece in pieces)
    last = [piece.kind for piece in pieces if piece.at == newest][-1]
    if condition.state == "up":
        assert last is P
    if last is P and condition.state not in ("down", "draining"):
        assert condition.state == "up"


class Server(RuleBasedStateMachine):
    """Any life of a server, with a model of what its states are to mean."""

    def __init__(self) -> None:
        super().__init__()
        self.rulebook = Rules(rise=2, fall=3)
        self.condition = Condition()
        self.now = 0.0
        self.failures = 0
        self.passed_ever = False

    def tell(self, kind: Kind) -> None:
        self.condition = after(self.condition, Evidence(kind, self.now, kind.name), self.rulebook)

    @rule(seconds=st.floats(0.001, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def passes(self) -> None:
        was = self.condition
        self.tell(P)
        self.failures, self.passed_ever = 0, True
        if was.state in ("unknown", "up", "suspect"):
            assert self.condition.state == "up"

    @rule()
    def is_not_ready(self) -> None:
        self.tell(U)
        self.failures = 0
        assert self.condition.state == ("draining" if self.passed_ever else "suspect")

    @rule()
    def fails(self) -> None:
        was = self.condition.state
        self.tell(F)
        self.failures += 1
        assert self.condition.state not in ("unknown", "up")
        assert (self.condition.state == "down") == (was == "down" or (self.passed_ever and self.failures >= 3))

    @rule()
    def is_doubted(self) -> None:
        was = self.condition.state
        self.tell(D)
        assert self.condition.state == ("suspect" if was in ("unknown", "up") else was)

    @precondition(lambda self: self.condition.state in ("down", "draining"))
    @rule()
    def comes_back(self) -> None:
        """A server that goes on passing is up after at most sixteen times ``rise``."""
        for _ in range(2 * 16):
            self.now += 0.001
            self.passes()
            if self.condition.state == "up":
                return
        raise AssertionError("it never comes back")

    @invariant()
    def is_never_down_before_it_passed(self) -> None:
        assert self.passed_ever == self.condition.proven
        assert self.passed_ever or self.condition.state in ("unknown", "suspect")

    @invariant()
    def got_into_its_state_at_a_time_that_was(self) -> None:
        assert 0 <= self.condition.since <= self.now
        assert len(self.condition.downs) <= 5


TestServer = Server.TestCase


@given(st.lists(evidence, max_size=20), rulebooks, evidence)
def test_a_doubt_takes_no_server_down_and_ends_no_session(
    pieces: list[Evidence], rules: Rules, doubt: Evidence
) -> None:
    condition = Condition()
    for piece in pieces:
        condition = after(condition, piece, rules)
    assume(condition.state != "down")
    doubted = after(condition, doubt._replace(kind=D, at=301), rules)
    assert doubted.state not in ("down", "up", "unknown")
    for name in ("fails", "proven", "downs", "back_at"):
        assert getattr(doubted, name) == getattr(condition, name)
