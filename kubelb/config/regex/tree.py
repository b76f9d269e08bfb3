"""What a regular expression is made of, and how Python writes it; pure.

Whatever takes one byte is the set of those it takes, a number with a bit for each: so nothing in it can mean one
thing to PCRE and another to Python. Parts, options and repetitions are tried in the same order by both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

EVERY: Final = (1 << 256) - 1
"""All bytes."""
END: Final = 1 << 256
"""The bit for the end of the text, where sets say what may come next."""
LINE_END: Final = 1 << 10

Place = Literal["start", "end", "last_line_end", "boundary", "no_boundary"]


@dataclass(frozen=True)
class Byte:
    """One of a set."""

    allowed: int


@dataclass(frozen=True)
class Edge:
    """A place between bytes."""

    place: Place


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """At least two, the first that leads to a match counts."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """What is repeated takes a byte at least."""

    body: Node
    least: int
    most: int | None
    """None: as often as it goes."""
    lazy: bool = False
    """Whether fewer are tried first."""


@dataclass(frozen=True)
class Group:
    """Captures; they are numbered by where they open."""

    body: Node


Node = Byte | Edge | Sequence | Choice | Repeat | Group

_WRITTEN: Final[dict[Place, str]] = {
    "start": r"\A",
    "end": r"\Z",
    "last_line_end": "$",
    "boundary": r"\b",
    # Python's \B is not at the edges of an empty text.
    "no_boundary": r"(?!\b)",
}


def byte_set(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in set(numbers))


def written(node: Node) -> str:
    """For :mod:`re` and bytes, without flags."""
    if isinstance(node, Byte):
        return _byte(node.allowed)
    if isinstance(node, Edge):
        return _WRITTEN[node.place]
    if isinstance(node, Sequence):
        return "".join(map(written, node.parts))
    if isinstance(node, Choice):
        return f"(?:{'|'.join(map(written, node.options))})"
    if isinstance(node, Group):
        return f"({written(node.body)})"
    body = written(node.body) if isinstance(node.body, Byte) else f"(?:{written(node.body)})"
    most = "" if node.most is None else node.most
    return f"{body}{{{node.least},{most}}}{'?' if node.lazy else ''}"


def _byte(allowed: int) -> str:
    ranges = []
    rest, number = allowed, 0
    while rest:
        zeros = (rest & -rest).bit_length() - 1
        rest, number = rest >> zeros, number + zeros
        ones = (~rest & -~rest).bit_length() - 1
        ranges.append(rf"\x{number:02x}" + (rf"-\x{number + ones - 1:02x}" if ones > 1 else ""))
        rest, number = rest >> ones, number + ones
    if ranges and not allowed & (allowed - 1):
        return ranges[0]
    return f"[{''.join(ranges)}]" if ranges else "(?!)"


def shortest(node: Node) -> int:
    """The bytes that it takes at least."""
    if isinstance(node, Byte):
        return 1
    if isinstance(node, Edge):
        return 0
    if isinstance(node, Sequence):
        return sum(map(shortest, node.parts))
    if isinstance(node, Choice):
        return min(map(shortest, node.options))
    if isinstance(node, Group):
        return shortest(node.body)
    return node.least * shortest(node.body)


def size(node: Node) -> int:
    """The nodes there would be with each repetition written out, as PCRE has it."""
    if isinstance(node, Sequence):
        return 1 + sum(map(size, node.parts))
    if isinstance(node, Choice):
        return 1 + sum(map(size, node.options))
    if isinstance(node, Group):
        return 1 + size(node.body)
    if isinstance(node, Repeat) and not isinstance(node.body, Byte):
        return 1 + size(node.body) * max(node.least, node.most or 0, 1)
    return 1


def leading(node: Node) -> Repeat | None:
    """The endless repetition of one byte that every match begins with, if there is one.

    A match that begins with ``S*`` begins earliest where no byte of S is before it: from there it reaches every place
    that it reaches from further on.
    """
    while isinstance(node, (Sequence, Group)):
        if isinstance(node, Sequence):
            if not node.parts:
                return None
            node = node.parts[0]
        else:
            node = node.body
    endless = isinstance(node, Repeat) and node.most is None and isinstance(node.body, Byte)
    return node if endless and isinstance(node, Repeat) else None


def written_search(node: Node) -> str:
    """As :func:`written`, to be searched for: where no match can begin that has not been tried, none is tried."""
    first = leading(node)
    before = "" if first is None else f"(?<!{written(first.body)})"
    return before + written(node)
