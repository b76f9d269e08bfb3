"""How long a regular expression may take, before it has seen a text; pure.

A backtracking matcher tries one byte, or one place between bytes, after the other: those are its steps. They are
bounded from the end of the expression to its beginning. Of each part it is known with which bytes it may go on, so
that of two ways that go on with different bytes one fails at once: of ``[0-9]+\\.`` only one way lasts, however many
digits there are. What is repeated without end may have one such way only, else the ways multiply with each turn
(``(a+)+``). Ways then grow with the text's length like a power of it, and so does the bound.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from typing import Final, NamedTuple

from kubelb.config.regex.tree import (
    END,
    EVERY,
    LINE_END,
    Byte,
    Choice,
    Edge,
    Group,
    Node,
    Repeat,
    Sequence,
    leading,
    shortest,
)
from kubelb.reasons import ValueFault

BUDGET: Final = 8_000_000
"""Steps for one text, as they are bounded here; what Python does then takes some milliseconds at most."""
LONGEST: Final = 4096
"""Bytes of a text: sessions have what is captured along through an upgrade."""


class _Next(NamedTuple):
    """What comes after some part."""

    first: int
    """The bytes, or the end of the text, that it may begin with."""
    fail: int
    """Steps until it has failed where another byte is."""


class _Bound(NamedTuple):
    """Of one part and the way it goes on.

    At most ``work + slope * (the bytes on the one way that lasts) + ways * (the steps from its end on)``. Without a
    way that is the only one to last, the slope is 0.
    """

    first: int
    fail: int
    work: int
    ways: int
    slope: int = 0

    def flat(self, length: int) -> int:
        """The work in a text of that many bytes."""
        return self.work + self.slope * length

    def whole(self, length: int) -> int:
        """Steps, where nothing comes after it."""
        return max(self.flat(length) + self.ways, self.fail)


_ANYTHING: Final = _Next(EVERY | END, 1)


class Endless(ValueFault):
    """There is no bound."""


def longest_text(node: Node) -> int:
    """The bytes a text may have for it to be tried within the budget. Raises :class:`Endless`."""
    if steps(node, LONGEST) <= BUDGET:
        return LONGEST
    low, high = -1, LONGEST - 1
    while low < high:
        middle = (low + high + 1) // 2
        if steps(node, middle) <= BUDGET:
            low = middle
        else:
            high = middle - 1
    return low


def steps(node: Node, length: int) -> int:
    """To search a text of that many bytes, at most. Raises :class:`Endless`."""
    bound = _bound(node, _ANYTHING, length)
    once = bound.whole(length)
    if _anchored(node):
        return once + length * bound.fail
    if leading(node) is None:
        return (length + 1) * once
    # Begun only where the repetition cannot have begun before: all these repetitions share the text.
    rest = _bound(_without_leading(node), _ANYTHING, length)
    return 2 * (length + 1) * (3 + rest.whole(length))


def _without_leading(node: Node) -> Node:
    if isinstance(node, Group):
        return _without_leading(node.body)
    if isinstance(node, Sequence):
        return Sequence((_without_leading(node.parts[0]), *node.parts[1:]))
    return Sequence(())


def _anchored(node: Node) -> bool:
    """Whether it matches from the start of the text only."""
    if isinstance(node, Edge):
        return node.place == "start"
    if isinstance(node, Sequence):
        return bool(node.parts) and _anchored(node.parts[0])
    if isinstance(node, Choice):
        return all(map(_anchored, node.options))
    if isinstance(node, Group):
        return _anchored(node.body)
    return False


def _bound(node: Node, then: _Next, length: int) -> _Bound:
    if isinstance(node, Byte):
        return _Bound(node.allowed, 1, 1 + then.fail, 1)
    if isinstance(node, Edge):
        return _Bound(_after_edge(node, then.first), 1 + then.fail, 1 + then.fail, 1)
    if isinstance(node, Sequence):
        return _of_sequence(node, then, length)
    if isinstance(node, Choice):
        return _of_choice([_bound(option, then, length) for option in node.options], length)
    if isinstance(node, Group):
        return _bound(node.body, then, length)
    return _of_repeat(node, then, length)


def _after_edge(edge: Edge, first: int) -> int:
    if edge.place == "end":
        return first & END
    return first & (LINE_END | END) if edge.place == "last_line_end" else first


def _of_sequence(node: Sequence, then: _Next, length: int) -> _Bound:
    whole = _Bound(then.first, then.fail, 0, 1)
    for part in reversed(node.parts):
        bound = _bound(part, _Next(whole.first, whole.fail), length)
        if bound.ways == 1:
            work, slope = bound.work + whole.work, max(bound.slope, whole.slope)
        else:
            work, slope = bound.flat(length) + bound.ways * whole.flat(length), 0
        whole = _Bound(bound.first, bound.fail, work, bound.ways * whole.ways, slope)
    return whole


def _of_choice(options: Items[_Bound], length: int) -> _Bound:
    first, apart = 0, True
    for option in options:
        apart = apart and not first & option.first
        first |= option.first
    fail = sum(option.fail for option in options)
    if apart:
        work, slope = (max(option.work for option in options) + fail, max(option.slope for option in options))
        return _Bound(first, fail, work, max(option.ways for option in options), slope)
    work = sum(option.flat(length) for option in options)
    return _Bound(first, fail, max(work, fail), sum(option.ways for option in options))


def _of_repeat(node: Repeat, then: _Next, length: int) -> _Bound:
    begin = _entry(node.body, _ANYTHING)
    fail = begin.fail + then.fail
    body = _bound(node.body, _Next(begin.first | then.first, fail), length)
    if body.ways > 1 and node.most is None:
        raise Endless("what it repeats can match in several ways, which may take for ever")
    possible = length // shortest(node.body)
    turns = possible if node.most is None else min(node.most, possible)
    first = begin.first | (0 if node.least else then.first)
    turn = body.work + fail
    if body.ways > 1:
        work = sum(body.ways**past for past in range(turns + 1)) * (body.flat(length) + fail)
        return _Bound(first, fail, work, max(1, sum(body.ways**past for past in range(node.least, turns + 1))))
    if begin.first & then.first and node.least != node.most:
        return _Bound(first, fail, (turns + 1) * turn + body.slope * length, max(1, turns - node.least + 1))
    if node.most is None:
        return _Bound(first, fail, turn, 1, body.slope + turn)
    return _Bound(first, fail, (turns + 1) * turn, 1, body.slope)


def _entry(node: Node, then: _Next) -> _Next:
    """With what it may begin, and how it fails on anything else."""
    if isinstance(node, Byte):
        return _Next(node.allowed, 1)
    if isinstance(node, Edge):
        return _Next(_after_edge(node, then.first), 1 + then.fail)
    if isinstance(node, Sequence):
        for part in reversed(node.parts):
            then = _entry(part, then)
        return then
    if isinstance(node, Choice):
        return _union([_entry(option, then) for option in node.options])
    if isinstance(node, Group):
        return _entry(node.body, then)
    begin = _entry(node.body, _ANYTHING)
    return _Next(begin.first | (0 if node.least else then.first), begin.fail + then.fail)


def _union(entries: Items[_Next]) -> _Next:
    first = 0
    for entry in entries:
        first |= entry.first
    return _Next(first, sum(entry.fail for entry in entries))
