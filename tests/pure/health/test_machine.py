from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from kubelb.health.machine import Evidence, Kind, Rules, Signs, after, is_behind, noted, passes_needed
from kubelb.snapshot import Condition, Finding, State

RULES = Rules(rise=1, fall=2)
NEVER = -math.inf
P, U, R, S, B, D = Kind.PASSED, Kind.UNREADY, Kind.REFUSED, Kind.SILENT, Kind.BROKEN, Kind.DOUBT
FAILURES = (Kind.REFUSED, Kind.UNANSWERED, Kind.SILENT, Kind.BROKEN)


def told(*kinds: Kind, rules: Rules = RULES, condition: Condition | None = None, start: float = 1.0) -> Condition:
    """The condition after these, a second apart."""
    condition = condition or Condition()
    for i, kind in enumerate(kinds):
        condition = after(condition, Evidence(kind, start + i, kind.name), rules)
    return condition


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ([], "unknown"),
        ([P], "up"),
        ([R], "suspect"),
        ([R] * 50, "suspect"),
        ([U] * 50, "suspect"),
        ([D], "suspect"),
        ([R, P], "up"),
        ([P, D], "suspect"),
        ([P, D, P], "up"),
        ([P, D, D, D, D], "suspect"),
        ([P, R], "suspect"),
        ([P, R, P], "up"),
        ([P, R, P, R, P, R], "suspect"),
        ([P, R, R], "down"),
        ([P, D, R], "suspect"),
        ([P, D, R, R], "down"),
        ([P, R, R, D], "down"),
        ([P, R, R, P], "up"),
        ([P, U], "draining"),
        ([P, U, D], "draining"),
        ([P, U, R], "draining"),
        ([P, U, R, R], "down"),
        ([P, U, R, U, R], "draining"),
        ([P, U, P], "up"),
        ([P, R, R, U], "draining"),
        ([P, R, R, U, P], "up"),
    ],
)
def test_the_states(kinds: list[Kind], state: State, failure: Kind) -> None:
    """Each kind of failure counts towards them."""
    kinds = [failure if kind is R else kind for kind in kinds]
    condition = told(*kinds)
    assert condition.state == state
    assert condition.reason == (kinds[-1].name if kinds and kinds[-1] is not D else condition.reason)


@pytest.mark.parametrize(
    ("kinds", "finding"),
    [
        ([], "unknown"),
        ([P], "alive"),
        ([Kind.NOT_TOLD], "not told"),
        ([Kind.FORBIDDEN], "not told"),
        ([U], "not ready"),
        ([R], "closed"),
        ([Kind.UNANSWERED], "closed"),
        ([S], "silent"),
        ([B], "broken"),
        ([P, D], "alive"),
        ([P, R, Kind.ACCEPTED], "closed"),
        ([P, R, U, P], "alive"),
    ],
)
def test_the_findings(kinds: list[Kind], finding: Finding) -> None:
    condition = told(*kinds)
    assert condition.finding == finding
    assert condition.found_at <= condition.seen_at or not kinds


@pytest.mark.parametrize(
    ("kinds", "condition"),
    [
        ([], Condition()),
        (
            [P],
            Condition(
                "up",
                1.0,
                "PASSED",
                "alive",
                1.0,
                passes=1,
                proven=True,
                seen_at=1.0,
                good_at=1.0,
                answered_at=1.0,
                answered_in=0.0,
            ),
        ),
        (
            [P, R, R],
            Condition(
                "down",
                3.0,
                "REFUSED",
                "closed",
                2.0,
                fails=2,
                proven=True,
                seen_at=3.0,
                downs=(3.0,),
                harm_from=2.0,
                good_at=1.0,
                answered_at=1.0,
                answered_in=0.0,
                door="refused",
                door_at=3.0,
            ),
        ),
        (
            [P, U, P],
            Condition(
                "up",
                3.0,
                "PASSED",
                "alive",
                3.0,
                passes=1,
                proven=True,
                seen_at=3.0,
                good_at=3.0,
                good_since=3.0,
                readiness_visible=True,
                answered_at=3.0,
                answered_in=0.0,
            ),
        ),
    ],
)
def test_all_that_is_known_of_a_server(kinds: list[Kind], condition: Condition) -> None:
    assert told(*kinds) == condition


# A server that is gone.


def unacked(at: float, since: float, retransmissions: int) -> Evidence:
    return Evidence(Kind.UNACKNOWLEDGED, at, "lost", since, retransmissions)


def unanswered(at: float, begun: float) -> Evidence:
    return Evidence(Kind.UNANSWERED, at, "no answer to connect", begun)


def all_of(condition: Condition, *pieces: Evidence, rules: Rules = RULES) -> Condition:
    for piece in pieces:
        condition = after(condition, piece, rules)
    return condition


def test_gone_takes_lost_bytes_and_an_unanswered_connect() -> None:
    gone = all_of(told(P), unacked(10.25, 10.0, 1), unanswered(10.65, 10.25), unacked(10.66, 10.0, 2))
    assert (gone.state, gone.finding, gone.harm_from, gone.found_at) == ("down", "gone", 10.25, 10.66)
    either_way = all_of(told(P), unacked(10.45, 10.0, 2), unanswered(10.85, 10.45))
    assert (either_way.state, either_way.finding, either_way.harm_from) == ("down", "gone", 10.0)


@pytest.mark.parametrize(
    "pieces",
    [
        [unacked(19, 10, 9)],
        [unanswered(10.5, 10.1)],
        [unacked(10.6, 10, 1), unanswered(10.7, 10.3)],
        [unacked(10.3, 10, 2), unanswered(10.4, 10.1)],
        [unanswered(10.4, 9.9), unacked(11, 10, 3)],
        [unacked(10.6, 10, 3), Evidence(R, 10.7, "refused", 10.6)],
        [unacked(10.6, 10, 3), Evidence(R, 10.7, "refused", 10.6), unanswered(11.2, 10.7)],
        [unacked(10.6, 10, 3), Evidence(B, 10.7, "reset", 10.6), unanswered(11.2, 10.7)],
        [unacked(10.6, 10, 3), Evidence(Kind.ACCEPTED, 10.7, "accepted", 10.65), unanswered(11.0, 10.6)],
        [unacked(10.6, 10, 3), Evidence(P, 10.7, "passed", 10.65), unanswered(11.2, 10.7)],
        [unacked(10.6, 10, 3), Evidence(U, 10.7, "not ready", 10.65), unanswered(11.2, 10.7)],
        [unacked(10.6, 10, 3), Evidence(S, 13.6, "no answer", 10.6)],
    ],
)
def test_what_is_not_enough(pieces: list[Evidence]) -> None:
    """One of the two alone, too few of one, too soon, a connect begun before, or another one that met somebody."""
    assert all_of(told(P), *pieces).finding != "gone"


@pytest.mark.parametrize(
    "contrary", [P, Kind.NOT_TOLD, Kind.FORBIDDEN, U, Kind.ACCEPTED, R, B, S], ids=lambda kind: kind.name
)
def test_whatever_it_says_is_against_its_being_gone(contrary: Kind) -> None:
    gone = all_of(told(P), unacked(10.45, 10.0, 2), unanswered(10.85, 10.45))
    assert after(gone, Evidence(contrary, 11.0, "something", 10.9), RULES).finding != "gone"
    assert after(gone, unanswered(11.5, 11.0), RULES).finding == "gone"


evidence = st.builds(
    Evidence,
    st.sampled_from(Kind),
    st.floats(0, 300),
    st.just("because"),
    st.none(),
    st.integers(0, 5),
)
rulebooks = st.builds(Rules, st.integers(1, 4), st.integers(1, 4), st.just(3.0), st.booleans(), st.booleans())
signs = st.builds(Signs, st.just(NEVER) | st.floats(0, 300), st.just(NEVER) | st.floats(0, 300))


@st.composite
def lives(draw: st.DrawFn) -> Condition:
    """Any condition that a server can get into."""
    condition, rules = Condition(), draw(rulebooks)
    for piece in draw(st.lists(evidence, max_size=20)):
        begun = piece.at - draw(st.floats(0, 10))
        condition = after(noted(condition, draw(signs)), piece._replace(begun=begun), rules)
    return condition


@given(lives(), rulebooks, st.booleans())
def test_gone_is_reached_from_any_state(condition: Condition, rules: Rules, connect_first: bool) -> None:
    """Within a second of the first byte that is lost, however the server was before."""
    pieces = [unacked(301.5, 301.0, 2), unanswered(301.6, 301.1)]
    gone = all_of(condition, *(reversed(pieces) if connect_first else pieces), unacked(301.61, 301, 2), rules=rules)
    assert (gone.state, gone.finding) == ("down", "gone")


@given(lives(), st.lists(evidence, max_size=10), rulebooks, st.floats(0, 300))
def test_a_refusal_is_never_death(condition: Condition, pieces: list[Evidence], rules: Rules, at: float) -> None:
    """Its kernel lives, and would have reset the sessions of a dead process."""
    refused = after(condition, Evidence(R, max(at, condition.seen_at), "refused"), rules)
    assert refused.finding == "closed"
    assert refused.unacked_since is None


@given(lives(), signs)
def test_signs_of_life_since_then_are_against_its_being_gone(condition: Condition, seen: Signs) -> None:
    known = noted(condition, seen)
    assert known.alive_at == max(condition.alive_at, *seen)
    assert known.unacked_since is None or known.alive_at <= known.unacked_since
    if condition.finding == "gone" and condition.unacked_since is not None and max(seen) > condition.unacked_since:
        assert known.finding == "closed"
    assert noted(known, seen) == known


@given(lives(), rulebooks)
def test_bytes_of_another_session_put_the_beginning_off(condition: Condition, rules: Rules) -> None:
    heard = noted(condition, Signs(301.0, NEVER))
    assert after(heard, unacked(301.6, 300.5, 4), rules).unacked_since == 301.0


# Silence.


def test_most_of_a_pool_never_goes_down_by_silence() -> None:
    crowd = RULES._replace(crowd=True)
    assert told(P, *[S] * 9, rules=crowd).state == "suspect"
    alone = told(P, S, S)
    assert alone.state == "down"
    assert told(S, condition=alone, start=5, rules=crowd).state == "suspect", "what was one is many now"


@given(lives(), rulebooks, st.floats(0, 300))
def test_silence_in_a_crowd_takes_nobody_down(condition: Condition, rules: Rules, at: float) -> None:
    silent = Evidence(S, max(at, condition.seen_at), "no answer")
    assert after(condition, silent, rules._replace(crowd=True)).state in ("suspect", "draining")


def test_silence_begins_with_the_session_that_waits() -> None:
    waiting = after(told(P), Evidence(Kind.UNHEARD, 10.5, "a session waits", 10.0), RULES)
    assert (waiting.state, waiting.harm_from) == ("suspect", None)
    others = noted(told(P), Signs(10.1, NEVER))
    assert after(others, Evidence(Kind.UNHEARD, 10.5, "a session waits", 10.0), RULES).state == "up"
    assert after(waiting, Evidence(S, 13.5, "no answer", 10.5), RULES).harm_from == 10.0
    heard = after(waiting, Evidence(P, 10.6, "passed", 10.5), RULES)
    again = after(heard, Evidence(Kind.UNHEARD, 11.0, "a session waits", 10.0), RULES)
    assert again.unheard_since == 10.6, "it has answered since"
    assert after(heard, Evidence(S, 13.5, "no answer", 11.5), RULES).harm_from == 11.5


def test_a_late_answer_is_an_answer() -> None:
    late = after(told(P, S), Evidence(P, 13.0, "passed", 9.0), RULES)
    assert (late.state, late.finding, late.answered_in) == ("up", "late", 4.0)
    assert is_behind(late)
    assert is_behind(told(P, S))
    assert not is_behind(told(P, R))
    assert told(P, condition=late, start=14).finding == "alive"


# Readiness that is not told.


def test_403_is_no_readiness_once_others_have_told_theirs() -> None:
    seen = RULES._replace(readiness_seen=True)
    for before in ([], [P], [P, U], [P, R, R], [P, S]):
        starting = told(*before, Kind.FORBIDDEN, rules=seen)
        assert (starting.state, starting.finding) == ("suspect", "forbidden")
    assert told(P, R, R, Kind.FORBIDDEN, U, P, rules=seen).state == "up"
    assert told(P, Kind.NOT_TOLD, rules=seen).state == "up", "401 tells nothing of the server"


# Coming back.


def test_how_far_a_server_is_on_its_way_back_is_its_reason() -> None:
    rules = Rules(rise=3, fall=1)
    assert told(P, R, P, rules=rules).reason == "1 of 3 passes: PASSED"
    assert told(P, R, P, P, rules=rules).reason == "2 of 3 passes: PASSED"


def test_what_was_a_minute_ago_is_forgotten() -> None:
    rules = Rules(rise=1, fall=1)
    back = told(P, R, P, rules=rules)
    assert back.downs == (2.0,)
    assert told(R, condition=back, start=61.9, rules=rules).downs == (2.0, 61.9)
    assert told(R, condition=back, start=62.0, rules=rules).downs == (62.0,)
    down = told(R, condition=back, start=50.0, rules=rules)
    assert [passes_needed(down, rules, now) for now in (61.9, 62.0)] == [2, 1]


def test_since_is_when_the_state_began() -> None:
    assert told(P, P, P).since == 1.0
    assert told(P, P, R, R).since == 4.0
    assert told(P, P, R, R, R).since == 4.0


def test_harm_begins_with_the_first_that_speaks_against_it_and_ends_when_it_is_up() -> None:
    assert told(P, P, R, S, U, B).harm_from == 3.0
    slowly = Rules(rise=2, fall=1)
    returning = told(P, R, P, rules=slowly)
    assert (returning.harm_from, returning.good_since) == (2.0, NEVER)
    back = told(P, R, P, P, rules=slowly)
    assert (back.harm_from, back.good_since, back.good_at) == (None, 4.0, 4.0)
    assert told(P, D, P).good_since == NEVER, "doubt is no harm"


def test_coming_back_takes_rise_passes_in_a_row() -> None:
    rules = Rules(rise=3, fall=1)
    down = told(P, P, P, R, rules=rules)
    assert down.state == "down"
    assert told(P, P, condition=down, start=10, rules=rules).state == "down"
    assert told(P, P, R, P, P, condition=down, start=10, rules=rules).state == "down"
    back = told(P, P, P, condition=down, start=10, rules=rules)
    assert (back.state, back.back_at) == ("up", 12)


def test_one_that_was_not_ready_needs_rise_passes_in_a_row_too() -> None:
    rules = Rules(rise=2, fall=2)
    assert told(P, U, P, rules=rules).state == "draining"
    assert told(P, U, P, R, P, rules=rules).state == "draining"
    assert told(P, U, P, P, rules=rules).state == "up"
    assert told(P, U, P, P, rules=rules).back_at is None


def test_doubt_that_passes_is_no_coming_back() -> None:
    assert told(P, D, P).back_at is None
    assert told(P, R, P).back_at is None


def test_a_flapping_server_has_to_prove_itself_for_longer() -> None:
    rules, condition, at, needed = Rules(rise=1, fall=1), told(P), 2.0, []
    for _ in range(8):
        condition = after(condition, Evidence(R, at, ""), rules)
        needed.append(passes_needed(condition, rules, at))
        for _ in range(needed[-1]):
            assert condition.state == "down"
            at += 0.1
            condition = after(condition, Evidence(P, at, ""), rules)
        assert condition.state == "up"
        at += 0.1
    assert needed == [1, 2, 4, 8, 16, 16, 16, 16]
    assert len(condition.downs) == 5
    calm = after(condition, Evidence(R, at + 60, ""), rules)
    assert passes_needed(calm, rules, at + 60) == 1


# Any order.


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


@given(lives())
def test_up_means_that_nothing_speaks_against_it(condition: Condition) -> None:
    if condition.state == "up":
        assert condition.harm_from is None
        assert condition.finding in ("alive", "late", "not told")
    if condition.state in ("down", "draining"):
        assert condition.harm_from is not None
    assert condition.finding != "gone" or condition.state == "down"


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

    @rule(kind=st.sampled_from([P, Kind.NOT_TOLD, Kind.FORBIDDEN]))
    def passes(self, kind: Kind = P) -> None:
        was = self.condition
        self.tell(kind)
        self.failures, self.passed_ever = 0, True
        if was.state in ("unknown", "up", "suspect"):
            assert self.condition.state == "up"

    @rule()
    def is_not_ready(self) -> None:
        self.tell(U)
        self.failures = 0
        assert self.condition.state == ("draining" if self.passed_ever else "suspect")

    @rule(kind=st.sampled_from(FAILURES))
    def fails(self, kind: Kind) -> None:
        was = self.condition
        self.tell(kind)
        if kind is Kind.UNANSWERED and was.door in ("open", "refused") and was.door_at > self.now:
            return
        self.failures += 1
        assert self.condition.state not in ("unknown", "up")
        assert (self.condition.state == "down") == (was.state == "down" or (self.passed_ever and self.failures >= 3))

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


@given(lives(), evidence)
def test_a_doubt_takes_no_server_down_and_ends_no_session(condition: Condition, doubt: Evidence) -> None:
    assume(condition.state != "down")
    doubted = after(condition, doubt._replace(kind=D, at=301), RULES)
    assert doubted.state not in ("down", "up", "unknown")
    kept = ("state", "since", "reason", "passes", "seen_at")
    assert replace(doubted, **{name: getattr(condition, name) for name in kept}) == condition
