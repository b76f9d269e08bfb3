"""What clients and servers of the load say to each other. Pure.

A client sends a question, one line; what it is, is its first word::

    say NUMBER SIZE                     the answer is one line and SIZE bytes of a stream
    bulk NUMBER UP DOWN BURST PAUSE     UP bytes follow, then the client's end; the answer is one line, DOWN bytes,
                                        the digests of what came up and of what went down in one line, and the end

An answer's line is ``SESSION NUMBER``: the server's name and the number it gave this connection, so a client notices
if its session is joined to another's; and the number of the question. Sides that read bulk data do so in bursts.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

PIECE = 64 << 10
"""Bytes that are sent at once, at most."""
_BLOCK = 1 << 20
_BYTES = random.Random("the bytes of all streams").randbytes(_BLOCK)
_TWICE = memoryview(_BYTES + _BYTES[:PIECE])


class Wrong(Exception):
    """The other side said what it must not. The text is one line: what was heard, and what should have been."""


@dataclass(frozen=True)
class Say:
    """A small question."""

    number: int
    size: int

    def line(self) -> bytes:
        return f"say {self.number} {self.size}\n".encode()


@dataclass(frozen=True)
class Bulk:
    """A transfer."""

    number: int
    up: int
    """Bytes from the client."""
    down: int
    """Bytes from the server."""
    burst: int
    """Bytes that either reader takes at once."""
    pause: float
    """Seconds it waits then."""

    def line(self) -> bytes:
        return f"bulk {self.number} {self.up} {self.down} {self.burst} {self.pause}\n".encode()


def parse(line: bytes) -> Say | Bulk:
    """The question. Raises :class:`Wrong`."""
    match line.split():
        case [b"say", number, size]:
            return Say(int(number), int(size))
        case [b"bulk", number, up, down, burst, pause]:
            return Bulk(int(number), int(up), int(down), int(burst), float(pause))
    raise Wrong(f"{line[:80]!r} is no question")


def answer(session: str, number: int) -> bytes:
    return f"{session} {number}\n".encode()


def stream(seed: int, size: int) -> Iterator[memoryview]:
    """``size`` bytes in pieces. Where they begin in the one block of all streams, ``seed`` says; so the bytes of two
    streams differ, and those of one at any two places of it."""
    at = seed * 7919 % _BLOCK
    while size:
        piece = _TWICE[at : at + min(size, PIECE)]
        yield piece
        size -= len(piece)
        at = (at + len(piece)) % _BLOCK


def digest_of(seed: int, size: int) -> str:
    """Of such a stream."""
    digest = hashlib.sha256()
    for piece in stream(seed, size):
        digest.update(piece)
    return digest.hexdigest()
