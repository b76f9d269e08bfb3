from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.expression import Expression, Variable
from kubelb.reasons import ValueFault

VARIABLES: dict[str, Variable[dict[str, bytes]]] = {
    "a": lambda record: record.get("a"),
    "a_b": lambda record: record.get("a_b"),
    "c1": lambda record: record.get("c1"),
}
values = st.binary(max_size=8)
plain = st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from(sorted(VARIABLES))


def evaluated(text: str, **record: bytes) -> bytes:
    return Expression(text, VARIABLES)(record)


@given(st.lists(st.tuples(plain, names)), plain, st.fixed_dictionaries(dict.fromkeys(VARIABLES, values)))
def test_values_stand_where_their_variables_do(
    parts: list[tuple[str, str]], end: str, record: dict[str, bytes]
) -> None:
    text = "".join(f"{before}${{{name}}}" for before, name in parts) + end
    wanted = b"".join(before.encode() + record[name] for before, name in parts) + end.encode()
    assert evaluated(text, **record) == wanted


@given(plain.filter(lambda text: not re.match(r"[A-Za-z0-9_]", text)), values)
def test_a_name_ends_where_its_characters_end(rest: str, value: bytes) -> None:
    assert evaluated(f"$a_b{rest}", a_b=value, a=b"wrong") == value + rest.encode()


def test_case_does_not_count() -> None:
    assert evaluated("$A_b${C1}", a_b=b"x", c1=b"y") == b"xy"


def test_what_there_is_not_is_nothing() -> None:
    assert evaluated("<$a>") == b"<>"


def test_each_value_is_rendered_and_no_text() -> None:
    expression = Expression("a-$a$c1", VARIABLES, lambda value: b"-" if value is None else value.upper())
    assert expression({"c1": b"a"}) == b"a--A"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("$", "invalid variable name"),
        ("x$-y", "invalid variable name"),
        ("$$a", "invalid variable name"),
        ("${}", "invalid variable name"),
        ("${", "invalid variable name"),
        ("$ü", "invalid variable name"),
        ("${a", 'the closing bracket in "a" variable is missing'),
        ("${a-}", 'the closing bracket in "a" variable is missing'),
        ("${-}", 'the closing bracket in "" variable is missing'),
        ("$a_c", 'unknown "a_c" variable; did you mean "a_b"?'),
        ("$zzz", 'unknown "zzz" variable$'),
        ("$1", 'unknown "1" variable'),
        ("$then", '"then" is not known yet at that time; known are a, a_b, c1'),
    ],
)
def test_faults_are_in_nginx_words(text: str, fault: str) -> None:
    with pytest.raises(ValueFault, match="^" + fault.replace("?", r"\?")):
        Expression(text, VARIABLES, later=["then"])


@given(st.text(st.characters(codec="ascii"), max_size=12))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        expression = Expression(text, VARIABLES)
    except ValueError:
        assert "$" in text
    else:
        assert "$" in text or expression({}) == text.encode()
