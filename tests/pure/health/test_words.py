from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.health.words import described
from kubelb.snapshot import Condition, Finding

NOW = 100.0


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (Condition(), ""),
        (
            Condition("up", finding="late", heard_at=99.0, door="open", answered_in=0.8),
            "acknowledges, accepts, answers in 0.8 s: late",
        ),
        (Condition("up", finding="alive", answered_in=0.0042), "answers in 4 ms"),
        (Condition("up", finding="not told", answered_in=0.0042), "answers in 4 ms, readiness not visible"),
        (Condition("draining", finding="not ready", answered_in=2.0), "answers in 2.0 s, not ready"),
        (Condition("down", finding="closed", door="refused", acked_at=99.0), "acknowledges, refuses: closed"),
        (
            Condition("down", finding="gone", door="unanswered", unacked_since=97.5, answered_in=0.1),
            "acknowledges nothing for 2.5 s, does not answer to connect: gone",
        ),
        (
            Condition("down", finding="silent", door="open", harm_from=90.0, heard_at=93.0, acked_at=99.0),
            "acknowledges, accepts, has not answered for 7.0 s: silent",
        ),
        (Condition("suspect", finding="broken"), "broken"),
    ],
)
def test_what_is_said(known: Condition, words: str) -> None:
    assert described(known, NOW) == words


@given(st.sampled_from(["late", "silent", "broken", "closed", "gone", "forbidden"]), st.booleans())
def test_what_is_wrong_is_always_said(finding: Finding, heard: bool) -> None:
    assert described(Condition(finding=finding, heard_at=NOW if heard else 0.0), NOW).endswith(finding)
