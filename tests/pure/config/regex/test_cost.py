from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kubelb.config.regex.compiled import compile_regex
from kubelb.config.regex.cost import BUDGET, LONGEST, Endless, longest_text, steps
from kubelb.config.regex.parser import parse
from kubelb.config.regex.tree import Node
from kubelb.reasons import ValueFault
from tests.support.regexes import Steps, patterns, texts

_items = st.sampled_from(["a", "b", "[ab]", ".", "a", "$", "[^a]", r"\b"])
_often = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?", "+?", "??", "{2,}"])


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda body, often: f"(?:{body}){often}", inner, _often),
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda options: f"(?:{'|'.join(options)})"),
    )


costly = st.recursive(_items, _wider, max_leaves=7)
"""Of so few letters that many ways lead through a text."""


def tree(pattern: str) -> Node:
    try:
        return parse(pattern, caseless=False).tree
    except ValueError:
        assume(False)
        raise


@example("^a*a*a*a*b", b"a" * 24)
@example("a*?a*?a*?b", b"a" * 24)
@example("(?:a|ab|aba)(?:a|ab|aba)(?:a|ab|aba)(?:a|ab|aba)c", b"aba" * 6)
@example("^(?:a|aa|ab|aab){1,4}c", b"aab" * 4)
@example("(?:a+b)*(?:a+b)*c", b"aab" * 8)
@example("(?:(?:a|b){2}b?)+c", b"ab" * 12)
@given(costly, st.text("ab", max_size=24).map(str.encode))
def test_no_search_takes_more_steps_than_were_foreseen(pattern: str, text: bytes) -> None:
    node, taken = tree(pattern), Steps()
    try:
        most = steps(node, len(text))
    except Endless:
        assume(False)
    assume(most < 2_000_000)
    taken.search(node, text)
    assert taken.count <= most


@given(patterns, texts)
def test_nor_do_those_of_other_kinds(pattern: str, text: bytes) -> None:
    node, taken = tree(pattern), Steps()
    try:
        most = steps(node, len(text))
    except Endless:
        assume(False)
    taken.search(node, text)
    assert taken.count <= most


@given(costly)
def test_the_longest_text_is_within_the_budget_and_none_longer(pattern: str) -> None:
    node = tree(pattern)
    try:
        longest = longest_text(node)
    except Endless:
        assume(False)
    assert steps(node, longest) <= BUDGET if longest >= 0 else steps(node, 0) > BUDGET
    assert longest == LONGEST or steps(node, longest + 1) > BUDGET


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+", "(a|ab)*", "(a|a)+", "(?:a*a?b)+", "(.*a)+", r"(\d+\.?)+", "((?:a|b)+)*?", "(a{1,2})*"),
        "(?:[a-z]([a-z-]*[a-z])?\\.)+",
    ],
)
def test_what_may_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueFault, match=r"^what it repeats can match in several ways, which may take for ever; "):
        compile_regex(pattern, any_case=False)


@pytest.mark.parametrize(
    ("pattern", "bytes_at_least"),
    [
        (r"^10\.", LONGEST),
        (r"^(\d+)\.(\d+)\.(\d+)\.(\d+)$", LONGEST),
        (r"^([a-z0-9]+(-+[a-z0-9]+)*\.)+com$", LONGEST),
        (r"^.*\.example\.(com|org)$", LONGEST),
        (r".*\.example\.com$", LONGEST),
        ("[a-z]+@", LONGEST),
        (r"([0-9]+\.)+x", 253),
        (".*foo.*bar", 253),
        ("foo.*bar.*baz", 64),
    ],
)
def test_what_is_common_has_room(pattern: str, bytes_at_least: int) -> None:
    assert compile_regex(pattern, any_case=False).longest >= bytes_at_least


@pytest.mark.parametrize("pattern", [".*a.*b.*c.*d.*e", "(?:a|b|aa|bb){1,16}z", "a?" * 30 + "a" * 30])
def test_what_takes_too_long_for_short_texts_is_refused(pattern: str) -> None:
    with pytest.raises(ValueFault, match=f"^more than {BUDGET} steps for a text of 64 bytes; "):
        compile_regex(pattern, any_case=False)


@pytest.mark.parametrize("pattern", ["(a{2}){60}" * 9, "(?:[ab][cd]){1000}", "a" * 1001, "()" * 500_000])
def test_what_nginx_finds_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(ValueFault, match=r"^the regular expression is too large; "):
        compile_regex(pattern, any_case=False)
