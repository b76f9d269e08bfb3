from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.regex.compiled import compile_regex
from kubelb.reasons import ValueFault
from tests.support.regexes import garbage


def found(pattern: str, text: bytes, any_case: bool = False) -> bytes | None:
    match = compile_regex(pattern, any_case).pattern.search(text)
    return None if match is None else match[0]


@given(st.binary(min_size=1, max_size=8))
def test_what_is_quoted_is_meant(text: bytes) -> None:
    quoted = "".join(f"\\x{byte:02x}" for byte in text)
    assert found(f"^{quoted}$", text) == text
    assert found(f"^[{quoted}]+$", text) == text
    assert found(f"[^{quoted}]", text) is None


@pytest.mark.parametrize(
    ("pattern", "text", "match"),
    [
        ("a$", b"ba\n", b"a"),
        (r"a\z", b"ba\n", None),
        ("a.c", b"a\nc", None),
        ("^b", b"a\nb", None),
        (r"[\w-]+", b" a-b ", b"a-b"),
        ("[]a]+", b"[a]]", b"a]]"),
        ("a{,b", b"a{,b", b"a{,b"),
        (r"\Qa.b*\E*", b"a.b**", b"a.b**"),
        ("ü", "ü".encode(), "ü".encode()),
        ("(?i)ü", "Ü".encode(), None),
        ("a(?i)b|c", b"C", b"C"),
        ("(?:a(?i)b)c", b"aBC", None),
        ("(?i:a)b", b"Ab", b"Ab"),
        ("[[:^alpha:]]", b"a1", b"1"),
        (r"\B", b"", b""),
    ],
)
def test_what_pcre_means_by_it(pattern: str, text: bytes, match: bytes | None) -> None:
    assert found(pattern, text) == match


def test_case_counts_for_ascii_alone_and_only_if_wanted() -> None:
    for pattern in ("a", "[a-c]", "[^b]", "[[:lower:]]"):
        assert found(f"^{pattern}$", b"A", any_case=True) == b"A"
    assert found("a", b"A") is None
    assert found("[^a]", b"A", any_case=True) is None


def test_groups_are_variables_by_number_and_by_name() -> None:
    regex = compile_regex(r"^(?<First>a)|(?'second'b)(?P<third>c)?(d)", any_case=False)
    assert regex.groups == {"1": 1, "2": 2, "3": 3, "4": 4, "first": 1, "second": 2, "third": 3}
    match = regex.pattern.search(b"xbd")
    assert match is not None
    captures = {"1": b"", "2": b"b", "3": b"", "4": b"d", "first": b"", "second": b"b", "third": b""}
    assert regex.captures(match) == captures
    assert list(compile_regex("(a)" * 12, any_case=False).groups) == [*"123456789"]


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(a", r"missing closing parenthesis; write \( for one that is meant"),
        ("a)", r"unmatched closing parenthesis; write \) for one that is meant"),
        ("[a", r"missing closing bracket; write \[ for one that is meant"),
        ("*a", r"* has nothing before it to repeat; write \* for one that is meant"),
        ("a|{2}", r"{ has nothing before it to repeat; write \{ for one that is meant"),
        ("a**", r"* has nothing before it to repeat; write \* for one that is meant"),
        ("^*", "what is repeated may match nothing; write it so that it takes a character each time"),
        ("(a?)+", "what is repeated may match nothing; write it so that it takes a character each time"),
        ("a++", "possessive repetition is not supported; leave the second + out"),
        ("a{3,2}", "no number of times: {3,2}; write for example {1,3}"),
        ("a{0}", "no number of times: {0}; write for example {1,3}"),
        ("a{65536}", "no number of times: {65536}; write for example {1,3}"),
        ("a{,3}", r"{,3} is text to one PCRE and a repetition to the next; write {0,n} or \{"),
        ("a{ 1,2}", r"{ 1,2} is text to one PCRE and a repetition to the next; write {0,n} or \{"),
        (r"(a)\1", "backreferences are not supported"),
        (r"(?<n>a)\k<n>", "backreferences are not supported"),
        ("(?P<n>a)(?P=n)", "backreferences are not supported"),
        ("a(?=b)", "lookaround is not supported; write what is matched"),
        ("a(?!b)", "lookaround is not supported; write what is matched"),
        ("(?<=a)b", "lookaround is not supported; write what is matched"),
        ("(?<!a)b", "lookaround is not supported; write what is matched"),
        ("(?>a)", "atomic groups are not supported; write (?:"),
        ("(?|a)", "groups that share their numbers are not supported; write (?:"),
        ("(?#a)", "comments in a regular expression are not supported; leave it out"),
        ("(a)(?(1)b)", "conditions are not supported; write each case with |"),
        ("(?C1)a", "callouts are not supported; leave it out"),
        ("a(?R)", "recursion is not supported"),
        ("(a)(?1)", "recursion is not supported"),
        ("(?<n>a)(?&n)", "recursion is not supported"),
        ("(*UTF)a", "(* begins a verb, which is not supported"),
        ("(?m)^a", "only the option i is supported; write (?i) or (?i:"),
        ("(?<1>a)", "wrong name of a group; write (?<name>, with letters, digits and underscores"),
        ("(?<n>a)(?<N>b)", 'two groups have the name "N"'),
        (r"\pL", "Unicode properties are not supported; texts are bytes here"),
        (r"\X", "Unicode properties are not supported; texts are bytes here"),
        (r"\C", r"\C is not supported; texts are bytes here, write [\x00-\xff]"),
        (r"\Ga", r"\G is not supported; write ^"),
        (r"a\Kb", r"\K is not supported; write what is meant as a group"),
        (r"\R", r"\R is not supported; write \r?\n"),
        (r"[\B]", r"\B is not supported there"),
        (r"\N{U+41}", r"\N{...} is not supported; texts are bytes here"),
        (r"\y", r"\y is unknown; write y alone for the letter"),
        (r"\x{100}", r"\x is unknown; write x alone for the letter"),
        ("a\\", r"\ at the end; write \\ for one that is meant"),
        (r"a\Eb", r"\Q and \E have nothing between them; leave them out"),
        ("[b-a]", r"a range that is none; write \- for a - that is meant"),
        (r"[a-\d]", r"a range that is none; write \- for a - that is meant"),
        (r"[\d-z]", r"a range that begins with a set; write \- for a - that is meant"),
        ("[:alpha:]", "[:name:] stands in brackets of its own; write [[:name:]]"),
        ("(" * 41 + "a" + ")" * 41, "groups within each other; at most 40"),
    ],
)
def test_what_is_refused(pattern: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=f"^{re.escape(fault)}$"):
        compile_regex(pattern, any_case=False)


@pytest.mark.parametrize("kind", ":.=")
def test_a_set_that_is_not_closed_takes_no_time_however_long_it_is(kind: str) -> None:
    """Each backslash more would double it, were there two ways to read one."""
    with pytest.raises(ValueFault, match=r"^missing closing bracket"):
        compile_regex(f"[[{kind}a" + "\\" * 60, any_case=False)


def test_sets_that_nobody_knows() -> None:
    with pytest.raises(ValueFault, match=r"^unknown set in brackets; known are \[:alnum:\]"):
        compile_regex("[[:x:]]", any_case=False)


@given(st.one_of(garbage, st.text(max_size=12)), st.booleans())
def test_whatever_is_written_is_an_expression_or_refused(pattern: str, any_case: bool) -> None:
    with suppress(ValueError):
        compile_regex(pattern, any_case)
