"""Regular expressions to be tried: patterns, broken ones too, texts for them, and a matcher that counts its steps."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from kubelb.config.regex.tree import Byte, Choice, Edge, Group, Node, Repeat, Sequence, leading

_SETS = (
    *("[ab]", "[^a]", "[a-c1]", "[]a]", "[^]b]", "[-a]", "[a-]", "[.]", "[[:alpha:]]", "[[:^digit:]b]", r"[\d.]"),
    *(r"[\w-]", r"[^\W1]", r"[\b\x61]", r"[\101-c]", "[[a]", "[a^]", "[[:upper:][:punct:]]", r"[^\s]", "[Y-b]"),
)
_ESCAPES = (
    *(r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\h", r"\H", r"\v", r"\V", r"\N", r"\n", r"\t", r"\x61", r"\x{62}"),
    *(r"\.", r"\-", r"\0", r"\060", r"\o{61}", r"\x", r"\cA", r"\Qa.b\E", r"\Q*\E", r"\e", r"\\"),
)
_BYTES = (*"abcAB1.-_ ", ".", "ü", "{", "}", "]", ":")
_EDGES = ("^", "$", r"\b", r"\B", r"\A", r"\z", r"\Z")
_REPEATS = ("*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?", "??", "{1,2}?", "{,", "{a}")

_atoms = st.one_of(st.sampled_from(_BYTES), st.sampled_from(_SETS), st.sampled_from(_ESCAPES))


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    opening = st.sampled_from(["(", "(", "(?:", "(?i:", "(?-i:", "((?i)"])
    group = st.builds(lambda start, body: f"{start}{body}{')' * start.count('(?i)')})", opening, inner)
    closed = group.map(lambda text: text if text.count("(") == text.count(")") else text[:-1])
    return st.one_of(
        st.builds(lambda item, often: item + often, st.one_of(_atoms, closed), st.sampled_from(_REPEATS)),
        closed,
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
    )


patterns = st.recursive(st.one_of(_atoms, _atoms, st.sampled_from(_EDGES)), _wider, max_leaves=8)
"""Most are of the kind that is understood."""
garbage = st.lists(
    st.sampled_from([*"ab1()[]{}|*+?^$.\\:,-=!<>'PiRQEdwN0xc&#_", "[[:", ":]", "(?", "(?<n>", r"\Q", r"\E"]),
    max_size=9,
).map("".join)
"""Most are no patterns."""
texts = st.text(alphabet="abcABy1.-_ \n\tü{}]:*", max_size=10).map(str.encode)


class Steps:
    """Tries all ways one after the other, and counts the bytes and places it has looked at."""

    def __init__(self) -> None:
        self.count = 0

    def search(self, node: Node, text: bytes) -> tuple[int, int] | None:
        """Where the match is."""
        first = leading(node)
        for begin in range(len(text) + 1):
            if first is not None and begin:
                assert isinstance(first.body, Byte)
                self.count += 1
                if first.body.allowed >> text[begin - 1] & 1:
                    continue
            ends: list[int] = []

            def note(end: int, ends: list[int] = ends) -> bool:
                ends.append(end)
                return True

            if self._try(node, text, begin, note):
                return begin, ends[0]
        return None

    def _try(self, node: Node, text: bytes, at: int, then: Callable[[int], bool]) -> bool:
        if isinstance(node, Byte):
            self.count += 1
            return at < len(text) and bool(node.allowed >> text[at] & 1) and then(at + 1)
        if isinstance(node, Edge):
            self.count += 1
            return _is_at(node, text, at) and then(at)
        if isinstance(node, Sequence):
            return self._sequence(node.parts, text, at, then)
        if isinstance(node, Choice):
            return any(self._try(option, text, at, then) for option in node.options)
        if isinstance(node, Group):
            return self._try(node.body, text, at, then)
        return self._repeat(node, text, at, 0, then)

    def _sequence(self, parts: tuple[Node, ...], text: bytes, at: int, then: Callable[[int], bool]) -> bool:
        if not parts:
            return then(at)
        return self._try(parts[0], text, at, lambda end: self._sequence(parts[1:], text, end, then))

    def _repeat(self, node: Repeat, text: bytes, at: int, turns: int, then: Callable[[int], bool]) -> bool:
        def again() -> bool:
            more = node.most is None or turns < node.most
            onwards = lambda end: self._repeat(node, text, end, turns + 1, then)  # noqa: E731
            return more and self._try(node.body, text, at, onwards)

        if turns < node.least:
            return again()
        return then(at) or again() if node.lazy else again() or then(at)


def _is_at(edge: Edge, text: bytes, at: int) -> bool:
    def word(place: int) -> bool:
        return 0 <= place < len(text) and (text[place : place + 1].isalnum() or text[place] == ord("_"))

    if edge.place == "start":
        return at == 0
    if edge.place == "end":
        return at == len(text)
    if edge.place == "last_line_end":
        return text[at:] in (b"", b"\n")
    return (word(at - 1) != word(at)) == (edge.place == "boundary")
