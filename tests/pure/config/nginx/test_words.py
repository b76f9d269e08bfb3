"""Cutting nginx.conf's text: what was put together comes apart again, and nothing else than a fault escapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.nginx.words import BUFFER, Statement, TextFault, statements

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_blank = st.sampled_from([" ", "\t", "\r\n", "\n", " \n ", " # a comment; {\n"])
_sources = st.lists(st.sampled_from(list(b"a;{}#$\\\"'\n\r\t )\x00\xc3b")), max_size=60).map(bytes)


def _quoted(word: str, quote: str) -> str:
    return quote + word.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


@given(st.data(), st.lists(st.lists(_words, min_size=1, max_size=4), max_size=5))
def test_what_is_put_together_comes_apart(data: st.DataObject, wanted: list[list[str]]) -> None:
    text = ""
    expected: list[Statement] = []
    for words in wanted:
        for number, word in enumerate(words):
            text += (data.draw(_blank) if number else "") + _quoted(word, data.draw(st.sampled_from("\"'")))
        end = data.draw(st.sampled_from(";{"))
        text += data.draw(st.just("") | _blank) + end
        expected.append(Statement(tuple(words), end, text.count("\n") + 1))
        text += data.draw(st.just("") | _blank)
        if data.draw(st.booleans()):
            text += "}"
            expected.append(Statement((), "}", text.count("\n") + 1))
    expected.append(Statement((), "", text.count("\n") + 1))
    assert list(statements(text.encode())) == expected


@given(_sources, st.booleans())
def test_nothing_but_a_fault_escapes(text: bytes, parameter: bool) -> None:
    lines: list[int] = []
    try:
        lines += [statement.line for statement in statements(text, parameter)]
    except TextFault as fault:
        lines.append(fault.line)
    assert lines == sorted(lines)
    assert 1 <= lines[-1] <= text.count(b"\n") + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rb"a b\;c;", ["a", r"b\;c"]),
        (rb"a b\tc\nd\\e\"f;", ["a", 'b\tc\nd\\e"f']),
        (b"a ${b}c ${{d;", ["a", "${b}c", "${{d"]),
        (b"""a b"c d'e;""", ["a", 'b"c', "d'e"]),
        (b"""a "b")c;""", ["a", "b", ")c"]),
        (b"a b#c;", ["a", "b#c"]),
        (b"a b}c;", ["a", "b}c"]),
        (b"a \xc2\xa0b;", ["a", "\xa0b"]),
    ],
)
def test_words(text: bytes, words: list[str]) -> None:
    assert next(iter(statements(text))).words == tuple(words)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        (b"a\nb", 'unexpected end of file, expecting ";" or "}"', 2),
        (b'a "b\n\n', 'unexpected end of file, expecting ";" or "}"', 3),
        (b'a "b', 'unexpected end of file, expecting ";" or "}"', 1),
        (b"a \\", 'unexpected end of file, expecting ";" or "}"', 1),
        (b"\n;", 'unexpected ";"', 2),
        (b"{", 'unexpected "{"', 1),
        (b"a }", 'unexpected "}"', 1),
        (b"a 'b\n'c;", 'unexpected "c"', 2),
        (b"\na \xff;", "not UTF-8: byte 0xff", 2),
        (b"#" * BUFFER + b"\n", 'too long parameter "##########..." started', 1),
        (b"\na " + b"b" * BUFFER + b";", 'too long parameter "bbbbbbbbbb..." started', 2),
        (b"a " + b"b" * (BUFFER - 1) + b" ;", 'too long parameter "bbbbbbbbbb..." started', 1),
        (b'a "' + b"b" * BUFFER + b'";', 'too long parameter, probably missing terminating """ character', 1),
        (b"a '" + b"b" * (BUFFER - 1) + b"';", 'too long parameter "bbbbbbbbbb..." started', 1),
    ],
)
def test_faults(text: bytes, what: str, line: int) -> None:
    with pytest.raises(TextFault) as caught:
        list(statements(text))
    assert (caught.value.what, caught.value.line) == (what, line)


@pytest.mark.parametrize(
    "text",
    [
        b"a " + b"b" * (BUFFER - 1) + b";",
        b"#" * (BUFFER - 1) + b"\n",
        b'a "' + b"b" * (BUFFER - 2) + b'";',
        b"#" * BUFFER,
        b"# caf\xe9",
    ],
)
def test_what_just_fits(text: bytes) -> None:
    assert list(statements(text))[-1].end == ""


def test_a_parameter_is_as_long_as_it_likes() -> None:
    assert len(next(iter(statements(b"a " + b"b" * 9999 + b";", parameter=True))).words[1]) == 9999
    with pytest.raises(TextFault, match='unexpected end of parameter, expecting ";"'):
        list(statements(b"a", parameter=True))
