"""Why a text is no TOML: where, what stands there, and what would have to."""

from __future__ import annotations

import pytest
import tomli
from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.config.toml.syntax import deepest_line, longest_word_line, why_not_toml

_A_VALUE = "put text in quotes, or write a number, true, false, [...] or {...}"
_A_KEY = "write letters, digits, _ and -, or put the key in quotes"
_A_LINE = "begin a new line, or put text in quotes"
_A_PAIR = "write key = value, or [table]"
_ONCE = "is there already, or is in something that is no table; write each key and each table once"


def told(text: str) -> str:
    with pytest.raises(tomli.TOMLDecodeError) as caught:
        tomli.loads(text)
    line, column, what, instead = why_not_toml(text, caught.value.pos)
    return f"{line}:{column}: {what}; {instead}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # Values.
        ("a = \n", '1:5: the line ends where a value belongs; write for example "text", 1, true, [...] or {...}'),
        ("a =", '1:4: the file ends where a value belongs; write for example "text", 1, true, [...] or {...}'),
        ("threads = auto\n", f'1:11: "auto" is no value; {_A_VALUE}'),
        ("\nt = 10s # x\n", f'2:5: "10s" is no value; {_A_VALUE}'),
        ("a = ['10.0.0.1:1', 10.0.0.2:1]", f'1:20: "10.0.0.2:1" is no value; {_A_VALUE}'),
        ("a = True", f'1:5: "True" is no value; {_A_VALUE}'),
        ("a = truely", f'1:5: "truely" is no value; {_A_VALUE}'),
        ("a = 01", f'1:5: "01" is no value; {_A_VALUE}'),
        ("a = 1979-13-01", f'1:5: "1979-13-01" is no value; {_A_VALUE}'),
        ("a = " + "x" * 99, f'1:5: "{"x" * 40}..." is no value; {_A_VALUE}'),
        ("a = 1,", f'1:6: there is "," where the line should end; {_A_LINE}'),
        ("a = 'x' 'y'", f'1:9: there is "\'" where the line should end; {_A_LINE}'),
        ("a = 1 b = 2", f'1:7: there is "b" where the line should end; {_A_LINE}'),
        (
            "a = 1\rb",
            f"1:6: there is a character U+000D where the line should end; {_A_LINE}",
        ),
        # Keys.
        ("= 1", f'1:1: there is "=" where a key or a table belongs; {_A_PAIR}'),
        ("a = 1\n}", f'2:1: there is "}}" where a key or a table belongs; {_A_PAIR}'),
        (
            "\ufeffa = 1",
            f"1:1: there is a character U+FEFF where a key or a table belongs; {_A_PAIR}",
        ),
        ("a", "1:2: the file ends where = belongs; write key = value"),
        ("a\nb = 1", "1:2: the line ends where = belongs; write key = value"),
        ("a b = 1", '1:3: there is "b" where = belongs; write key = value'),
        ("a: 1", '1:2: there is ":" where = belongs; write key = value'),
        (
            "a..b = 1",
            f'1:3: there is "." where a key belongs; {_A_KEY}',
        ),
        (
            "a = { = 1 }",
            f'1:7: there is "=" where a key belongs; {_A_KEY}',
        ),
        # Tables.
        ("[a\nb = 1", "1:3: the line ends where ] belongs; end the table's name with ]"),
        ("[a b]", '1:4: there is "b" where ] belongs; end the table\'s name with ]'),
        ("[[a]\n\nb = 1", '1:4: there is "]" where ]] belongs; end the table\'s name with ]]'),
        ("[a]\n[", "2:1: a name of a table without end; close it with ]"),
        ("[]", f'1:2: there is "]" where a key belongs; {_A_KEY}'),
        ("[a] x", f'1:5: there is "x" where the line should end; {_A_LINE}'),
        # Lists and tables {...}.
        ("a = 1\nb = [1", "2:5: a list without end; close it with ]"),
        ("a = [\n  [1],\n  # c\n", "1:5: a list without end; close it with ]"),
        ("b = [1\nc = 2\n", '2:1: there is "c" in the list of line 1; write a comma, or ] to end it'),
        ("b = [\n1 2]", '2:3: there is "2" in the list of line 1; write a comma, or ] to end it'),
        ("b = [[1], [2}", '1:13: there is "}" in the list of line 1; write a comma, or ] to end it'),
        ("b = [1,,2]", '1:8: there is "," where a value belongs; write for example "text", 1, true, [...] or {...}'),
        ("b = {a = 1", "1:5: a table {...} without end; close it with }"),
        ("b = {a = 1 c = 2}", '1:12: there is "c" in the table {...} of line 1; write a comma, or } to end it'),
        # Texts.
        ('a = 1\nb = "x', '2:5: a text without end; close it with "'),
        ('a = "x\nb = 1', '1:5: a text without end; close it with "'),
        ("a = 'x\nb = 'y'", "1:5: a text without end; close it with '"),
        ('a = """x\n\n', '1:5: a text without end; close it with """'),
        ('"a = 1', '1:1: a text without end; close it with "'),
        (r'a = "x\q"', r"1:7: \q means nothing in a text; write \\ for a backslash, or the text in '...'"),
        (r'a = "\u12"', r"1:6: \u12 means nothing in a text; write \\ for a backslash, or the text in '...'"),
        (r'a = "\ud800x"', r"1:6: \ud800 means nothing in a text; write \\ for a backslash, or the text in '...'"),
        ('a = """\n\\q"""', r"2:1: \q means nothing in a text; write \\ for a backslash, or the text in '...'"),
        ('a = "\x01"', r'1:6: there is a character U+0001 in a text; write \u0001, within "..."'),
        ("a = 'x\x7f'", r'1:7: there is a character U+007F in a text; write \u007f, within "..."'),
        ("a = 1 # x\x00y", "1:10: there is a character U+0000 in a comment; leave it out"),
        # What is there already.
        ("pin = true\npin = [\n1\n]\n", f"2:1: pin {_ONCE}"),
        ("a.b = 1\na.b.c = 2", f"2:1: a.b.c {_ONCE}"),
        ("a = 1\n'a' = 2 # x", f"2:1: a {_ONCE}"),
        ("[a.b]\n[a.b]\n", f"2:2: [a.b] {_ONCE}"),
        ("a = 1\n[[a]]\n", f"2:3: [a] {_ONCE}"),
        ("a = [{b = 1},\n{b = 1, b = 2}]", f"2:9: b {_ONCE}"),
        ("a = {b.c = 1, b = {x = 1}}", f"1:15: b {_ONCE}"),
        ("a = {x = 1}\na.y = 1", f"2:1: a.y {_ONCE}"),
    ],
)
def test_what_is_told(text: str, fault: str) -> None:
    assert told(text) == fault


@given(st.text(alphabet=st.sampled_from("ab=.[]{}\"'\\#, \n1\x00u")), st.integers(0, 50))
@example("111111111111111'\\\x001", 18)
@example("\0=1", 3)
def test_whatever_a_reader_stops_at(text: str, at: int) -> None:
    """Also one that goes by another grammar."""
    line, column, what, instead = why_not_toml(text, min(at, len(text)))
    assert 1 <= line <= text.count("\n") + 1
    assert 1 <= column <= len(text.split("\n")[line - 1]) + 1
    assert what.isprintable()
    assert instead.isprintable()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("a = [1]\nb = [[1]]\nc = [[1]]", 2),
        ("a = '[[['\nb = {c = [1]}\n# [[[[", 2),
        ("[a.b]\na.b.c.d = 1\n[a]", 2),
        ('a = """\n\n"""\nb = [\n[]]', 5),
    ],
)
def test_the_line_where_most_is_within_each_other(text: str, line: int) -> None:
    assert deepest_line(text) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [("", 1), ("'a' = 'b'", 1), ("a = 1\nb = 999\n# 9999", 2), ('a = """\n9999\n"""\n\nb = [1,\n22]', 6)],
)
def test_the_line_of_the_longest_word(text: str, line: int) -> None:
    assert longest_word_line(text) == line
