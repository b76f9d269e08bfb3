"""The sets of bytes that PCRE has names and escapes for, in the C locale; pure.

PCRE2's ``pcre2pattern`` manual, and its tables (src/pcre2_chartables.c.dist).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kubelb.config.regex.tree import EVERY, byte_set


def _of(pattern: str) -> int:
    return byte_set(number for number in range(256) if re.fullmatch(pattern, chr(number), re.ASCII))


NAMED: Final[Mapping[str, int]] = {
    "alnum": _of("[0-9A-Za-z]"),
    "alpha": _of("[A-Za-z]"),
    "ascii": _of(r"[\x00-\x7f]"),
    "blank": _of(r"[\t ]"),
    "cntrl": _of(r"[\x00-\x1f\x7f]"),
    "digit": _of("[0-9]"),
    "graph": _of("[!-~]"),
    "lower": _of("[a-z]"),
    "print": _of("[ -~]"),
    "punct": _of(r"[!-/:-@\[-`{-~]"),
    "space": _of(r"[\t-\r ]"),
    "upper": _of("[A-Z]"),
    "word": _of("[0-9A-Z_a-z]"),
    "xdigit": _of("[0-9A-Fa-f]"),
}
"""``[:name:]``."""

_KINDS: Final[Mapping[str, int]] = {
    "d": NAMED["digit"],
    "h": _of(r"[\t \xa0]"),
    "s": NAMED["space"],
    "v": _of(r"[\n-\r\x85]"),
    "w": NAMED["word"],
}
ESCAPED: Final[Mapping[str, int]] = {**_KINDS, **{letter.upper(): EVERY & ~kind for letter, kind in _KINDS.items()}}
r"""``\d`` and the like."""
NO_LINE_END: Final = EVERY & ~byte_set(b"\n")
"""``.``"""

_UPPER: Final = NAMED["upper"]
_LOWER: Final = NAMED["lower"]


def any_case(allowed: int) -> int:
    """With the other case of each ASCII letter."""
    return allowed | (allowed & _UPPER) << 32 | (allowed & _LOWER) >> 32
