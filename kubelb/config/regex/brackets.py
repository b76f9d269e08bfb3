"""A set of bytes in brackets, as PCRE2 reads it (``parse_regex`` of its src/pcre2_compile.c); pure."""

from __future__ import annotations

import re
from typing import Final

from kubelb.config.regex.escapes import byte_escape
from kubelb.config.regex.sets import ESCAPED, NAMED, any_case
from kubelb.config.regex.tree import EVERY
from kubelb.reasons import ValueFault

_POSIX: Final = re.compile(r"\[:(\^?)([a-z]+):\]")
_POSIX_LIKE: Final = re.compile(r"\[([:.=])(?:\\[\]\\]|(?!\[\1|\1\]|\]|\\[\]\\]).)*\1\]", re.DOTALL)
_BACKSPACE: Final = 8


def read_brackets(text: str, at: int, caseless: bool) -> tuple[int, int]:
    """The set, and where the text goes on; ``at`` is behind the opening bracket. Raises :class:`ValueFault`."""
    return _Brackets(text, at, caseless).read()


class _Brackets:
    def __init__(self, text: str, at: int, caseless: bool) -> None:
        self._text = text
        self._at = at
        self._caseless = caseless

    def read(self) -> tuple[int, int]:
        if _POSIX_LIKE.match(self._text, self._at - 1):
            raise ValueFault("[:name:] stands in brackets of its own; write [[:name:]]")
        negated = self._next() == "^"
        self._at += negated
        allowed, begin = 0, self._at
        while self._next() != "]" or self._at == begin:
            allowed |= self._item()
        return EVERY & ~allowed if negated else allowed, self._at + 1

    def _next(self, ahead: int = 0) -> str:
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _item(self) -> int:
        low = self._one()
        ranged = self._next() == "-" and self._next(1) not in ("]", "")
        if isinstance(low, _Set):
            if ranged:
                raise ValueFault(r"a range that begins with a set; write \- for a - that is meant")
            return low.allowed
        high: int | _Set = low
        if ranged:
            self._at += 1
            high = self._one()
        if isinstance(high, _Set) or high < low:
            raise ValueFault(r"a range that is none; write \- for a - that is meant")
        allowed = (1 << high + 1) - (1 << low)
        return any_case(allowed) if self._caseless else allowed

    def _one(self) -> int | _Set:
        """The number of a byte, or a set that has a name."""
        byte = self._next()
        if not byte:
            raise ValueFault(r"missing closing bracket; write \[ for one that is meant")
        if byte == "[" and _POSIX_LIKE.match(self._text, self._at):
            return self._posix()
        self._at += 1
        if byte != "\\":
            return ord(byte)
        letter = self._next()
        if letter in ESCAPED:
            self._at += 1
            return _Set(ESCAPED[letter])
        if letter == "b":
            self._at += 1
            return _BACKSPACE
        number, self._at = byte_escape(self._text, self._at)
        return number

    def _posix(self) -> _Set:
        match = _POSIX.match(self._text, self._at)
        if match is None or match[2] not in NAMED:
            raise ValueFault(f"unknown set in brackets; known are {', '.join(f'[:{name}:]' for name in NAMED)}")
        self._at = match.end()
        allowed = any_case(NAMED[match[2]]) if self._caseless else NAMED[match[2]]
        return _Set(EVERY & ~allowed if match[1] else allowed)


class _Set:
    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
