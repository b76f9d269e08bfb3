"""One regular expression, ready to be searched for; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from kubelb.config.regex.cost import BUDGET, Endless, longest_text
from kubelb.config.regex.parser import parse
from kubelb.config.regex.tree import size, written_search
from kubelb.reasons import ValueFault

_LEAST: Final = 64
"""Bytes that a text may have at least, for an expression to be of use."""
_MAX_TEXT: Final = 4096
"""Characters: a word of an nginx.conf has no more."""
_MAX_SIZE: Final = 1000
"""Nodes."""
DIGITS: Final = tuple("123456789")
"""The variables that numbered groups are."""


class Regex(msgspec.Struct, frozen=True):
    """Searched for in bytes, as PCRE does it."""

    pattern: re.Pattern[bytes]
    longest: int
    """Bytes a text may have; it is not searched for in longer ones, which could take too long."""
    groups: Mapping[str, int]
    """Which group each variable is that it sets: ``1`` to ``9``, and those with names, in small letters."""

    def captures(self, match: re.Match[bytes]) -> dict[str, bytes]:
        """What has been found: nothing for a group that took no part."""
        return {name: match[number] or b"" for name, number in self.groups.items()}


@lru_cache(maxsize=1024)
def compile_regex(pattern: str, any_case: bool) -> Regex:
    """Raises :class:`ValueFault`, saying what would be right."""
    too_large = ValueFault("the regular expression is too large; write lower counts or several lines")
    if len(pattern) > _MAX_TEXT:
        raise too_large
    tree, groups, names = parse(pattern, any_case)
    if size(tree) > _MAX_SIZE:
        raise too_large
    try:
        longest = longest_text(tree)
    except Endless as endless:
        instead = r"let each way begin with another character, as in ([0-9]+\.)+"
        raise ValueFault(f"{endless}; {instead}") from None
    if longest < _LEAST:
        what = f"more than {BUDGET} steps for a text of {_LEAST} bytes"
        raise ValueFault(f"{what}; begin it with ^, or repeat less")
    numbered = {digit: int(digit) for digit in DIGITS[:groups]}
    return Regex(re.compile(written_search(tree).encode()), longest, {**numbered, **names})
