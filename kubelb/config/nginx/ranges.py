"""The ranges of an nginx ``geo`` block as networks; pure.

As in ``ngx_stream_geo_add_range`` and ``ngx_stream_geo_delete_range`` (src/stream/ngx_stream_geo_module.c) a range is
cut at the borders of /16 networks, and within each of them a later one may lie in an earlier one, but not across its
end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from ipaddress import IPv4Address, summarize_address_range
from typing import Final, NamedTuple

from kubelb.inet import packed
from kubelb.reasons import ValueFault

_BLOCK: Final = 1 << 16
"""Addresses."""
_AT_MOST: Final = 1 << 18
"""Pieces of ranges, those that were replaced included."""


class _Piece(NamedTuple):
    """The addresses from ``low`` to ``high``."""

    low: int
    high: int
    value: str


class Ranges:
    """Takes them in, in the order of the file."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[_Piece]] = {}
        self._count = 0

    def add(self, text: str, value: str) -> str | None:
        """The value that the same range, or a part of it, has had until now. Raises :class:`ValueFault`."""
        before = None
        for low, high in self._pieces(text):
            pieces = self._blocks.setdefault(low // _BLOCK, [])
            before = _put(pieces, _Piece(low, high, value), text) or before
        return before

    def delete(self, text: str) -> bool:
        """Whether all of it was there. Raises :class:`ValueFault`."""
        return all([_delete(self._blocks.get(low // _BLOCK, []), low, high) for low, high in self._pieces(text)])

    def networks(self) -> Iterator[tuple[str, str]]:
        """Networks and their values; no range has an IPv6 address in it, nor 255.255.255.255."""
        for low, high, value in self._joined():
            for network in summarize_address_range(IPv4Address(low), IPv4Address(high)):
                yield str(network), value

    def _joined(self) -> list[_Piece]:
        joined: list[_Piece] = []
        for block in sorted(self._blocks):
            for piece in self._blocks[block]:
                if joined and joined[-1].high + 1 == piece.low and joined[-1].value == piece.value:
                    joined[-1] = joined[-1]._replace(high=piece.high)
                else:
                    joined.append(piece)
        return joined

    def _pieces(self, text: str) -> list[tuple[int, int]]:
        """The parts that lie in one /16 network each."""
        start, end = _parse(text)
        self._count += end // _BLOCK - start // _BLOCK + 1
        if self._count > _AT_MOST:
            raise ValueFault("too many large ranges; write networks")
        borders = range(start - start % _BLOCK, end + 1, _BLOCK)
        return [(max(start, border), min(end, border + _BLOCK - 1)) for border in borders]


def _parse(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        start, end = packed(first), packed(last)
    except ValueError:
        start = end = b""
    if not dash or len(start) != 4 or len(end) != 4 or start > end:
        raise ValueFault(f'invalid range "{text}"; write for example 10.0.0.1-10.0.0.9')
    return int.from_bytes(start, "big"), int.from_bytes(end, "big")


def _place(pieces: list[_Piece], high: int) -> int:
    """How many begin at ``high`` or before."""
    return bisect_right(pieces, high, key=lambda piece: piece.low)


def _put(pieces: list[_Piece], new: _Piece, text: str) -> str | None:
    """The value of one with the same borders."""
    place = _place(pieces, new.high)
    if not place or pieces[place - 1].high < new.low:
        pieces.insert(place, new)
        return None
    old = pieces[place - 1]
    if not old.low <= new.low <= new.high <= old.high:
        raise ValueFault(f'range "{text}" overlaps "{IPv4Address(old.low)}-{IPv4Address(old.high)}"')
    parts = (_Piece(old.low, new.low - 1, old.value), new, _Piece(new.high + 1, old.high, old.value))
    pieces[place - 1 : place] = [part for part in parts if part.low <= part.high]
    return old.value if old[:2] == new[:2] else None


def _delete(pieces: list[_Piece], low: int, high: int) -> bool:
    place = _place(pieces, high)
    if not place or pieces[place - 1][:2] != (low, high):
        return False
    del pieces[place - 1]
    return True
