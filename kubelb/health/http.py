"""The little of HTTP/1.1 (RFC 9112) that a probe needs: its request, and a bounded reader of the answer; pure."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kubelb import __version__

T = TypeVar("T")
Reading = Generator[None, bytes, T]
"""Reads what it is sent, in whatever pieces; an empty piece is the end of the connection."""

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers, those of interim answers included."""
MAX_BODY = 1024 * 1024
"""Bytes of a body that is read to its end, so that the connection can be used again."""
_MAX_CHUNK_LINE = 4096
_KEPT = 16 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FOLD = re.compile(rb"\n[ \t]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?", re.DOTALL)


class PeerFault(Exception):
    """The server did not answer as one should; the text says in which way."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    """Its beginning; empty where its end is not told beforehand or too far away."""
    reusable: bool
    """The connection is good for another request."""


def request(path: str, host: str, token: str | None) -> bytes:
    """A GET. All arguments are printable ASCII without spaces."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: kubelb/{__version__}",
        "Accept: */*",
        "Connection: keep-alive",
    ]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def answer() -> Reading[Answer]:
    """The answer to a GET; interim ones (1xx) are passed over. Raises :class:`PeerFault`."""
    incoming = _Incoming()
    head = yield from _head(incoming)
    body, whole = yield from _body(incoming, head)
    return Answer(head.status, body[:_KEPT], whole and head.persistent and not incoming.held)


class _Incoming:
    """What has come in and is not yet read."""

    def __init__(self) -> None:
        self.held = bytearray()
        self._begun = False

    def more(self) -> Reading[None]:
        piece = yield
        if not piece:
            raise PeerFault("closed in the middle of its answer" if self._begun else "closed without an answer")
        self._begun = True
        self.held += piece

    def expect(self, start: bytes) -> Reading[None]:
        """Wait until ``start`` has come, and leave it there."""
        while not self.held.startswith(start):
            if self.held != start[: len(self.held)]:
                raise PeerFault("not HTTP")
            yield from self.more()

    def line(self, most: int) -> Reading[bytes]:
        """Up to the next line end, which may be a bare LF and lies within ``most`` bytes."""
        searched = 0
        while (end := self.held.find(b"\n", searched, most)) < 0:
            searched = len(self.held)
            if searched >= most:
                raise PeerFault("not HTTP: a line or head without end")
            yield from self.more()
        line = yield from self.take(end + 1)
        return line[:-1].removesuffix(b"\r")

    def take(self, count: int) -> Reading[bytes]:
        while len(self.held) < count:
            yield from self.more()
        taken = bytes(self.held[:count])
        del self.held[:count]
        return taken


@dataclass(frozen=True)
class _Head:
    status: int
    chunked: bool
    length: int | None
    """Bytes of the body; None: it ends with the connection."""
    persistent: bool


def _head(incoming: _Incoming) -> Reading[_Head]:
    left = MAX_HEAD
    while True:
        yield from incoming.expect(b"HTTP/1.")
        lines: list[bytes] = []
        while not lines or lines[-1]:
            lines.append((yield from incoming.line(left)))
            left -= len(lines[-1]) + 1
        head = _parsed(lines[0], lines[1:-1])
        if head.status >= 200:
            return head


def _parsed(first: bytes, rest: Sequence[bytes]) -> _Head:
    match = _STATUS_LINE.fullmatch(first)
    if not match:
        raise PeerFault("not HTTP")
    headers = _headers(rest)
    codings = _elements(headers, b"transfer-encoding")
    lengths = _elements(headers, b"content-length")
    # Both at once is what smuggling looks like (RFC 9112, 6.3): such a connection is not used again.
    persistent = match[1] != b"0" and b"close" not in _elements(headers, b"connection") and not (codings and lengths)
    return _Head(int(match[2]), codings == [b"chunked"], None if codings else _length(lengths), persistent)


def _headers(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Names in lower case, and values."""
    headers = []
    for line in _FOLD.sub(b" ", b"\n".join(lines)).split(b"\n") if lines else ():
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or b"\r" in value or b"\0" in value:
            raise PeerFault("not HTTP: a malformed header")
        headers.append((name.lower(), value))
    return headers


def _elements(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Of the comma-separated lists that all headers of that name hold, in lower case."""
    values = b",".join(value for key, value in headers if key == name)
    return [element for part in values.split(b",") if (element := part.strip(b" \t").lower())]


def _length(lengths: Sequence[bytes]) -> int | None:
    if not lengths:
        return None
    if len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise PeerFault("not HTTP: a malformed Content-Length")
    return int(lengths[0])


def _body(incoming: _Incoming, head: _Head) -> Reading[tuple[bytes, bool]]:
    """The body, and whether that was read to its end."""
    if head.status in (204, 304):
        return b"", True
    if head.chunked:
        return (yield from _chunks(incoming))
    if head.length is None or head.length > MAX_BODY:
        return b"", False
    return (yield from incoming.take(head.length)), True


def _chunks(incoming: _Incoming) -> Reading[tuple[bytes, bool]]:
    body = bytearray()
    left = MAX_BODY
    while True:
        line = yield from incoming.line(_MAX_CHUNK_LINE)
        match = _CHUNK_LINE.fullmatch(line)
        if not match:
            raise PeerFault("not HTTP: a malformed chunk")
        size = int(match[1], 16)
        left -= len(line) + size
        if left < 0:
            return bytes(body), False
        if not size:
            break
        body += yield from incoming.take(size)
        if (yield from incoming.line(_MAX_CHUNK_LINE)):
            raise PeerFault("not HTTP: a malformed chunk")
    yield from _trailers(incoming)
    return bytes(body), True


def _trailers(incoming: _Incoming) -> Reading[None]:
    left = MAX_HEAD
    while line := (yield from incoming.line(left)):
        left -= len(line) + 1
