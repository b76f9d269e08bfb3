"""Why a text is not TOML, in kubelb's own words; pure.

tomli says only that and where it stops. What would have to stand there follows from what stands before: up to there
the text follows the grammar (toml.io, v1.0 and v1.1), so a walk over its tokens knows what comes next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from kubelb.config.faults import printable

_TOKEN: Final = re.compile(
    r"""
    (?P<text> \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | (?!\"{3})\"(?:\\.|[^\"\\\n])*\" | (?!'{3})'[^'\n]*' )
    | (?P<open> \"{3} | '{3} | \" | ' )
    | (?P<comment> \#[^\n]* )
    | (?P<mark> [\n\[\]{}=,.] )
    | (?P<word> [^\s\[\]{}=,.\#\"']+ )
    """,
    re.DOTALL | re.VERBOSE,
)
_WORD: Final = re.compile(r"[^\s\[\]{}=,#\"'\x00-\x1f\x7f-\x9f]+")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPE: Final = re.compile(r"\\(?:u[0-9A-Fa-f]{0,4}|U[0-9A-Fa-f]{0,8}|x[0-9A-Fa-f]{0,2}|.?)")
_LONGEST: Final = 40
"""Characters of the operator's text that are shown."""


class NotToml(NamedTuple):
    """What is wrong and what would be right; ``line`` and ``column`` count from 1."""

    line: int
    column: int
    what: str
    instead: str


class _Next(Enum):
    """What may come."""

    STATEMENT = auto()
    KEY = auto()
    """The first part of a key, or after a dot the next."""
    EQUALS = auto()
    """Or the end of a table's name."""
    VALUE = auto()
    END = auto()
    """Of the line, or a comma or bracket after a value."""
    TEXT = auto()
    """More of a text in quotes."""
    COMMENT = auto()


class _Key(NamedTuple):
    parts: tuple[str, ...] = ()
    at: int = 0


@dataclass
class _Open:
    """What has begun with a bracket and not ended; without one, the whole text."""

    bracket: str = ""
    at: int = 0
    keys: list[_Key] = field(default_factory=list)
    """That have been given a value in it."""


_THINGS: Final = {"[": "list", "{": "table {...}", "[name": "name of a table", "[[name": "name of a table"}
_CLOSING: Final = {"[": "]", "{": "}", "[name": "]", "[[name": "]]"}


def why_not_toml(text: str, at: int) -> NotToml:
    """``at`` is where tomli stops; line ends are LF alone."""
    walk = _Walk(text, at)
    walk.go()
    at, what, instead = walk.fault()
    return NotToml(_line(text, at), at - text.rfind("\n", 0, at), printable(what), printable(instead))


def longest_word_line(text: str) -> int:
    """The line with the longest word: of numbers, one of too many digits."""
    words = (match for match in _TOKEN.finditer(text) if match.lastgroup == "word")
    longest = max(words, key=lambda match: len(match[0]), default=None)
    return 1 if longest is None else _line(text, longest.start())


def deepest_line(text: str) -> int:
    """The first line where most is within each other: lists, tables, and parts of keys."""
    line, brackets, dots, most, found = 1, 0, 0, 0, 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        brackets += (token in ("[", "{")) - (token in ("]", "}"))
        dots = dots + 1 if token == "." else 0 if token in ("\n", "=", ",", "[", "]") else dots
        if brackets + dots > most:
            most, found = brackets + dots, line
        line += token.count("\n")
    return found


class _Walk:
    """Over the tokens before ``end``. Afterwards it knows what may come there."""

    def __init__(self, text: str, end: int) -> None:
        self._text = text
        self._end = end
        self._next = _Next.STATEMENT
        self._open = [_Open()]
        self._key = _Key()
        self._quote, self._quoted_at = "", 0
        """Of a text that has not ended."""

    def go(self) -> None:
        for match in _TOKEN.finditer(self._text, 0, self._end):
            if match.lastgroup == "open":
                self._next, self._quote, self._quoted_at = _Next.TEXT, match[0], match.start()
                return
            if match.lastgroup == "comment":
                if match.end() == self._end and self._text[self._end : self._end + 1] not in ("", "\n"):
                    self._next = _Next.COMMENT
            elif match.lastgroup == "mark":
                self._mark(match[0], match.start())
            else:
                self._name_or_value(match[0], match.start())

    def _mark(self, mark: str, at: int) -> None:
        if mark == "\n":
            if not self._around.bracket:
                self._next = _Next.STATEMENT
        elif mark in "[{":
            self._begin(mark, at)
        elif mark in "]}":
            if len(self._open) > 1:
                self._open.pop()
            self._next = _Next.END
        elif mark == "=":
            self._around.keys.append(self._key)
            self._next = _Next.VALUE
        elif mark == ",":
            self._expect(_Next.KEY if self._around.bracket == "{" else _Next.VALUE)
        elif self._next is _Next.EQUALS:
            self._next = _Next.KEY

    def _begin(self, bracket: str, at: int) -> None:
        if self._next is _Next.STATEMENT:
            self._open.append(_Open("[name", at))
            self._expect(_Next.KEY)
        elif self._around.bracket == "[name":
            self._around.bracket = "[[name"
        else:
            self._open.append(_Open(bracket, at))
            self._expect(_Next.KEY if bracket == "{" else _Next.VALUE)

    def _name_or_value(self, token: str, at: int) -> None:
        if self._next is _Next.STATEMENT:
            self._expect(_Next.KEY)
        if self._next is _Next.KEY:
            parts = (*self._key.parts, token.strip("\"'"))
            self._key = _Key(parts, self._key.at if self._key.parts else at)
            self._next = _Next.EQUALS
        elif self._next is _Next.VALUE:
            self._next = _Next.END

    def _expect(self, what: _Next) -> None:
        self._next, self._key = what, _Key()

    @property
    def _around(self) -> _Open:
        return self._open[-1]

    def fault(self) -> tuple[int, str, str]:
        """Where it is, what is wrong and what would be right."""
        around = self._around
        if self._next is _Next.TEXT:
            return self._fault_in_text()
        if self._next is _Next.COMMENT:
            return self._end, f"{self._there()} in a comment", "leave it out"
        if (twice := self._twice()) is not None:
            shown = _cut(".".join(twice.parts))
            shown = shown if self._next is _Next.END else f"[{shown}]"
            what = f"{shown} is there already, or is in something that is no table"
            return twice.at, what, "write each key and each table once"
        if around.bracket and self._end >= len(self._text.rstrip()):
            return around.at, f"a {_THINGS[around.bracket]} without end", f"close it with {_CLOSING[around.bracket]}"
        start, word = self._word()
        if word and (self._next is _Next.VALUE or (self._next is _Next.END and start < self._end)):
            return (
                start,
                f'"{word}" is no value',
                "put text in quotes, or write a number, true, false, [...] or {...}",
            )
        return self._end, *self._misplaced()

    def _misplaced(self) -> tuple[str, str]:
        there, bracket = self._there(), self._around.bracket
        match self._next:
            case _Next.STATEMENT:
                return f"{there} where a key or a table belongs", "write key = value, or [table]"
            case _Next.KEY:
                return f"{there} where a key belongs", "write letters, digits, _ and -, or put the key in quotes"
            case _Next.EQUALS if bracket in ("[name", "[[name"):
                return f"{there} where {_CLOSING[bracket]} belongs", f"end the table's name with {_CLOSING[bracket]}"
            case _Next.EQUALS:
                return f"{there} where = belongs", "write key = value"
            case _Next.VALUE:
                return f"{there} where a value belongs", 'write for example "text", 1, true, [...] or {...}'
        if not bracket:
            return f"{there} where the line should end", "begin a new line, or put text in quotes"
        begun = _line(self._text, self._around.at)
        closing = _CLOSING[bracket]
        return f"{there} in the {_THINGS[bracket]} of line {begun}", f"write a comma, or {closing} to end it"

    def _twice(self) -> _Key | None:
        """The key or table with nothing wrong about its form; so it is about what was there before."""
        bracket, keys = self._around.bracket, self._around.keys
        rest = self._text[self._end :].lstrip(" \t")[:2]
        if self._next is _Next.EQUALS and bracket in ("[name", "[[name") and rest.startswith(_CLOSING[bracket]):
            return self._key
        if self._next is not _Next.END or not keys:
            return None
        *before, last = keys
        if bracket == "{":
            return last if any(_overlap(key.parts, last.parts) for key in before) else None
        return last if not bracket and rest[:1] in ("", "\n", "#") else None

    def _fault_in_text(self) -> tuple[int, str, str]:
        there = self._text[self._end : self._end + 1]
        backslash = self._text.rfind("\\", self._quoted_at, self._end)
        if not there or (there == "\n" and len(self._quote) == 1):
            return self._quoted_at, "a text without end", f"close it with {self._quote}"
        if there.isprintable() and backslash >= 0:
            match = _ESCAPE.match(self._text, backslash)
            written = match[0] if match and match[0].isprintable() else "a backslash"
            what = f"{written} means nothing in a text"
            return backslash, what, r"write \\ for a backslash, or the text in '...'"
        return self._end, f"{self._there()} in a text", f'write \\u{ord(there):04x}, within "..."'

    def _there(self) -> str:
        """What is at the end, or that there is nothing more."""
        there = self._text[self._end : self._end + 1]
        if there in ("", "\n"):
            return "the line ends" if there else "the file ends"
        if not there.isprintable():
            return f"there is a character U+{ord(there):04X}"
        match = _NAME.match(self._text, self._end)
        return f'there is "{_cut(match[0]) if match else there}"'

    def _word(self) -> tuple[int, str]:
        """The whole one that is there, and where it begins; empty: there is none."""
        start = self._end
        while start and _WORD.fullmatch(self._text[start - 1]):
            start -= 1
        match = _WORD.match(self._text, start)
        return (start, _cut(match[0])) if match and match.end() > self._end else (self._end, "")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return one[: len(other)] == other[: len(one)]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
