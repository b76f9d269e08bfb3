"""On which line of a TOML text each key stands; pure.

tomli gives values without their lines, so faults in values look them up here. The text has passed tomli: this
scanner follows the grammar of a correct text (toml.io, v1.0) and does not check it.
"""

from __future__ import annotations

import re

import tomli

from kubelb.config.faults import Key

_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|'[^']*'|\#[^\n]*|[\n\[\]{}=,.]|[^\s\[\]{}=,.\#]+''',
    re.DOTALL,
)


def key_lines(text: str) -> dict[Key, int]:
    """The line of each key path and array element; lines count from 1."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        self._at: list[int] = []
        line, end = 1, 0
        for match in _TOKEN.finditer(text):
            line += text.count("\n", end, match.start())
            end = match.start()
            if not match[0].startswith("#"):
                self._tokens.append(match[0])
                self._at.append(line)
        self._next = 0
        self._lines: dict[Key, int] = {}
        self._elements: dict[Key, int] = {}

    def scan(self) -> dict[Key, int]:
        table: Key = ()
        while self._next < len(self._tokens):
            if self._peek() == "\n":
                self._next += 1
            elif self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _skip_newlines(self) -> None:
        while self._peek() == "\n":
            self._next += 1

    def _header(self) -> Key:
        line = self._at[self._next]
        array = self._tokens[self._next : self._next + 2] == ["[", "["]
        self._next += 2 if array else 1
        key: Key = ()
        for name in self._names("]"):
            if key in self._elements:
                key += (self._elements[key] - 1,)
            key += (name,)
            self._lines.setdefault(key, line)
        self._next += 1 if array else 0
        if array:
            index = self._elements.get(key, 0)
            self._elements[key] = index + 1
            key += (index,)
        elif key in self._elements:
            key += (self._elements[key] - 1,)
        self._lines.setdefault(key, line)
        return key

    def _names(self, end: str) -> list[str]:
        """The parts of a dotted key, up to and without ``end``."""
        names = []
        while (token := self._take()) not in (end, ""):
            if token != ".":
                quoted = token.startswith(('"', "'"))
                names.append(str(tomli.loads(f"key = {token}")["key"]) if quoted else token)
        return names

    def _pair(self, table: Key) -> None:
        line = self._at[self._next]
        key = table
        for name in self._names("="):
            key += (name,)
            self._lines.setdefault(key, line)
        self._value(key)

    def _value(self, key: Key) -> None:
        if self._peek() == "[":
            self._array(key)
        elif self._peek() == "{":
            self._inline_table(key)
        else:
            while self._peek() not in ("\n", ",", "]", "}", ""):
                self._next += 1

    def _array(self, key: Key) -> None:
        self._next += 1
        index = 0
        self._skip_newlines()
        while self._peek() not in ("]", ""):
            self._lines.setdefault((*key, index), self._at[self._next])
            self._value((*key, index))
            index += 1
            self._skip_separators()
        self._next += 1

    def _inline_table(self, key: Key) -> None:
        self._next += 1
        self._skip_separators()
        while self._peek() not in ("}", ""):
            self._pair(key)
            self._skip_separators()
        self._next += 1

    def _skip_separators(self) -> None:
        while self._peek() in ("\n", ","):
            self._next += 1
