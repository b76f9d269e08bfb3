r"""A regular expression as PCRE2 10.42 reads it, without options and for bytes; pure.

``src/pcre2_compile.c`` of PCRE2 and its manual ``pcre2pattern`` are the source. What could mean something else to
Python, or take for ever, is refused by its name: :class:`ValueFault`, with what would be right behind a semicolon.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from kubelb.config.regex.brackets import read_brackets
from kubelb.config.regex.escapes import byte_escape
from kubelb.config.regex.sets import ESCAPED, NO_LINE_END, any_case
from kubelb.config.regex.tree import Byte, Choice, Edge, Group, Node, Place, Repeat, Sequence, shortest
from kubelb.reasons import ValueFault

_MAX_DEPTH: Final = 40
"""Groups within each other."""
_MAX_COUNT: Final = 65535
_QUOTED: Final = re.compile(r"\\Q(.*?)(?:\\E|\Z)|\\.|.", re.DOTALL)
_COUNTS: Final = re.compile(r"\{([0-9]+)(,?)([0-9]*)\}")
_NEARLY_COUNTS: Final = re.compile(r"\{[ \t]*(?:[0-9]+[ \t]*,?[ \t]*[0-9]*|,[ \t]*[0-9]+)[ \t]*\}")
_NAME: Final = re.compile(r"\?(?:P?<([A-Za-z_][A-Za-z0-9_]{0,31})>|'([A-Za-z_][A-Za-z0-9_]{0,31})')")
_CASE: Final = re.compile(r"\?(-?)i([):])")
_EDGES: Final[dict[str, Place]] = {
    "A": "start",
    "B": "no_boundary",
    "Z": "last_line_end",
    "b": "boundary",
    "z": "end",
}
_REFUSED_GROUPS: Final = (
    (r"\*", "(* begins a verb, which is not supported"),
    (r"\?<?[=!]", "lookaround is not supported; write what is matched"),
    (r"\?>", "atomic groups are not supported; write (?:"),
    (r"\?\|", "groups that share their numbers are not supported; write (?:"),
    (r"\?#", "comments in a regular expression are not supported; leave it out"),
    (r"\?\(", "conditions are not supported; write each case with |"),
    (r"\?C", "callouts are not supported; leave it out"),
    (r"\?(?:R|[-+]?[0-9]|&|P>)", "recursion is not supported"),
    (r"\?P=", "backreferences are not supported"),
    (r"\?(?:P?<|')", "wrong name of a group; write (?<name>, with letters, digits and underscores"),
)


class Parsed(NamedTuple):
    tree: Node
    groups: int
    names: dict[str, int]
    """The numbers of groups that have one."""


def parse(pattern: str, caseless: bool) -> Parsed:
    """The expression whose UTF-8 bytes these are. Raises :class:`ValueFault`."""
    text = pattern.encode().decode("latin-1")
    parser = _Parser("".join(_unquoted(match) for match in _QUOTED.finditer(text)), caseless)
    return Parsed(parser.whole(), parser.groups, parser.names)


def _count(digits: str) -> int:
    """Up to :data:`_MAX_COUNT`, or more than that."""
    return int(digits.lstrip("0")[:6] or "0")


def _unquoted(match: re.Match[str]) -> str:
    r"""``\Q..\E`` byte by byte."""
    quoted: str | None = match[1]
    if quoted == "" or match[0] == r"\E":
        raise ValueFault(r"\Q and \E have nothing between them; leave them out")
    return match[0] if quoted is None else "".join(f"\\x{ord(byte):02x}" for byte in quoted)


class _Parser:
    def __init__(self, text: str, caseless: bool) -> None:
        self._text = text
        self._at = 0
        self._caseless = caseless
        self._depth = 0
        self.groups = 0
        self.names: dict[str, int] = {}

    def whole(self) -> Node:
        node = self._choice()
        if self._at < len(self._text):
            raise ValueFault(r"unmatched closing parenthesis; write \) for one that is meant")
        return node

    def _next(self) -> str:
        """The byte there, which stays; "" at the end."""
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _choice(self) -> Node:
        options = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts = []
        while self._next() not in ("", "|", ")"):
            item = self._item()
            if item is not None:
                parts.append(self._repeated(item))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _item(self) -> Node | None:
        """None for one that only says how those after it are meant."""
        byte = self._next()
        if byte in ("*", "+", "?") or (byte == "{" and _COUNTS.match(self._text, self._at)):
            raise ValueFault(f"{byte} has nothing before it to repeat; write \\{byte} for one that is meant")
        if byte == "{":
            self._no_doubtful_counts()
        self._at += 1
        if byte == "(":
            return self._group()
        if byte == "[":
            allowed, self._at = read_brackets(self._text, self._at, self._caseless)
            return Byte(allowed)
        if byte == "\\":
            return self._escape()
        if byte == "^":
            return Edge("start")
        if byte == "$":
            return Edge("last_line_end")
        return Byte(NO_LINE_END) if byte == "." else self._literal(ord(byte))

    def _literal(self, number: int) -> Byte:
        return Byte(any_case(1 << number) if self._caseless else 1 << number)

    def _escape(self) -> Node:
        letter = self._next()
        if letter in ESCAPED:
            self._at += 1
            return Byte(ESCAPED[letter])
        if letter in _EDGES:
            self._at += 1
            return Edge(_EDGES[letter])
        if letter == "N" and self._text[self._at + 1 : self._at + 2] != "{":
            self._at += 1
            return Byte(NO_LINE_END)
        number, self._at = byte_escape(self._text, self._at)
        return self._literal(number)

    def _repeated(self, item: Node) -> Node:
        least, most = self._counts()
        if (least, most) == (1, 1):
            return item
        if not shortest(item):
            raise ValueFault("what is repeated may match nothing; write it so that it takes a character each time")
        lazy = self._next() == "?"
        self._at += lazy
        if not lazy and self._next() == "+":
            raise ValueFault("possessive repetition is not supported; leave the second + out")
        return Repeat(item, least, most, lazy)

    def _counts(self) -> tuple[int, int | None]:
        """How often at least and at most."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self._next() in simple:
            self._at += 1
            return simple[self._text[self._at - 1]]
        match = self._take(_COUNTS)
        if match is None:
            self._no_doubtful_counts()
            return 1, 1
        least = _count(match[1])
        most = least if not match[2] else _count(match[3]) if match[3] else None
        if max(least, most or 0) > _MAX_COUNT or (most is not None and most < max(least, 1)) or match[0] == "{1}":
            raise ValueFault(f"no number of times: {match[0]}; write for example {{1,3}}")
        return least, most

    def _no_doubtful_counts(self) -> None:
        if match := _NEARLY_COUNTS.match(self._text, self._at):
            raise ValueFault(f"{match[0]} is text to one PCRE and a repetition to the next; write {{0,n}} or \\{{")

    def _group(self) -> Node | None:
        if case := self._take(_CASE):
            return self._with_case(not case[1], case[2])
        for start, fault in _REFUSED_GROUPS:
            if re.match(start, self._text[self._at :]) and not _NAME.match(self._text, self._at):
                raise ValueFault(fault)
        if self._text.startswith("?:", self._at):
            self._at += 2
            return self._inside()
        if name := self._take(_NAME):
            self._note(name[1] or name[2])
        elif self._next() == "?":
            raise ValueFault("only the option i is supported; write (?i) or (?i:")
        self.groups += 1
        return Group(self._inside())

    def _note(self, name: str) -> None:
        if name.lower() in self.names:
            raise ValueFault(f'two groups have the name "{name}"')
        self.names[name.lower()] = self.groups + 1

    def _with_case(self, caseless: bool, end: str) -> Node | None:
        """``(?i)`` counts up to the end of the group it is in, also for what comes after a ``|``."""
        before = self._caseless
        self._caseless = caseless
        if end == ")":
            return None
        node = self._inside()
        self._caseless = before
        return node

    def _inside(self) -> Node:
        """Of a group, with its end."""
        before = self._caseless
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueFault(f"groups within each other; at most {_MAX_DEPTH}")
        node = self._choice()
        if self._next() != ")":
            raise ValueFault(r"missing closing parenthesis; write \( for one that is meant")
        self._at += 1
        self._depth -= 1
        self._caseless = before
        return node
