r"""What stands behind a backslash for one byte (``_pcre2_check_escape`` of PCRE2's src/pcre2_compile.c); pure."""

from __future__ import annotations

import re
from typing import Final

from kubelb.reasons import ValueFault

_LETTERS: Final = {"a": 7, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9}
_NUMBER: Final = re.compile(
    r"x\{[0]*(?P<long>[0-9A-Fa-f]{1,2})\}|x(?!\{)(?P<short>[0-9A-Fa-f]{0,2})"
    r"|o\{[0]*(?P<octal>[0-3]?[0-7]{1,2})\}|0(?P<zero>[0-7]{0,2})"
)
_CONTROL: Final = re.compile(r"c([ -\[\]-~])")
_REFUSED: Final = {
    **dict.fromkeys("123456789gk", "backreferences are not supported"),
    **dict.fromkeys("pPX", "Unicode properties are not supported; texts are bytes here"),
    "C": r"\C is not supported; texts are bytes here, write [\x00-\xff]",
    "G": r"\G is not supported; write ^",
    "K": r"\K is not supported; write what is meant as a group",
    "N": r"\N{...} is not supported; texts are bytes here",
    "R": r"\R is not supported; write \r?\n",
    "B": r"\B is not supported there",
}


def byte_escape(text: str, at: int) -> tuple[int, int]:
    """The byte's number, and where the text goes on; ``at`` is behind the backslash. Raises :class:`ValueFault`."""
    letter = text[at : at + 1]
    if not letter:
        raise ValueFault(r"\ at the end; write \\ for one that is meant")
    if letter in _LETTERS:
        return _LETTERS[letter], at + 1
    if match := _NUMBER.match(text, at):
        base = 16 if letter == "x" else 8
        return int(match[match.lastgroup or 0] or "0", base), match.end()
    if match := _CONTROL.match(text, at):
        return ord(match[1].upper()) ^ 64, match.end()
    if letter in _REFUSED:
        raise ValueFault(_REFUSED[letter])
    if letter.isascii() and letter.isalnum():
        raise ValueFault(f"\\{letter} is unknown; write {letter} alone for the letter")
    return ord(letter), at + 1
