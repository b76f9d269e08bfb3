"""nginx.conf's text into statements, byte for byte as nginx cuts it (``ngx_conf_read_token``,
src/core/ngx_conf_file.c, nginx 1.22); pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

BUFFER: Final = 4096
"""Bytes; nginx's NGX_CONF_BUFFER, which no word and no comment may outgrow."""

_PIECE = re.compile(
    rb"""
    (?P<space> [ \t\r\n]+ )
  | (?P<mark> [;{}] )
  | (?P<comment> \#[^\n]* )
  | (?P<quoted> "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)(?P<closed>"?) | '(?P<single>[^'\\]*(?:\\.[^'\\]*)*)(?P<shut>'?) )
  | (?P<bare> (?: \\. | \$\{* | [^ \t\r\n;{\\$]+ )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_AFTER_QUOTE = b" \t\r\n;{)"
_ESCAPE = re.compile(rb"\\([\"'\\trn])")
_ESCAPED = {b"t": b"\t", b"r": b"\r", b"n": b"\n"}


class Statement(NamedTuple):
    """Words up to one of ``;``, ``{`` and ``}``, which is ``end``; without words it is a ``}`` or, "", the text's.

    ``line`` is the one that the end stands on: that is the line nginx names.
    """

    words: tuple[str, ...]
    end: str
    line: int


class TextFault(Exception):
    """The text cannot be cut. ``what`` in nginx's own words where it has any."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def statements(text: bytes, parameter: bool = False) -> Iterator[Statement]:
    """Those of a whole text. ``parameter``: it is that of ``-g``, which is not read through a buffer.

    Raises :class:`TextFault`. Escapes in the words are undone.
    """
    words: list[str] = []
    for piece, line, mark in _pieces(text, parameter):
        if not mark:
            words.append(_word(piece, line))
        elif bool(words) == (piece == b"}"):
            raise TextFault(f'unexpected "{piece.decode()}"', line)
        else:
            yield Statement(tuple(words), piece.decode(), line)
            words = []
    last = text.count(b"\n") + 1
    if words:
        raise _cut_off(last, parameter)
    yield Statement((), "", last)


def _pieces(text: bytes, parameter: bool) -> Iterator[tuple[bytes, int, bool]]:
    """Words and marks, each with the line it ends on and whether it is a mark."""
    at, line = 0, 1
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:  # a backslash at the very end
            raise _cut_off(line, parameter)
        if not parameter:
            _check_length(text, match, line)
        at, begun = match.end(), line
        line += match[0].count(b"\n")
        if match.lastgroup == "mark":
            yield match[0], line, True
        elif match["quoted"] is not None:
            yield _unquoted(text, match, line, parameter), begun, False
        elif match["bare"] is not None:
            if at == len(text):
                raise _cut_off(line, parameter)
            yield match[0], begun, False


def _unquoted(text: bytes, match: re.Match[bytes], line: int, parameter: bool) -> bytes:
    """What is between the quotes: they have to be closed, and something has to follow that ends the word."""
    end = match.end()
    if not (match["closed"] or match["shut"]) or end == len(text):
        raise _cut_off(text.count(b"\n") + 1, parameter)
    after = text[end : end + 1]
    if after not in _AFTER_QUOTE:
        raise TextFault(f'unexpected "{_shown(after)}"', line)
    return match["double"] if match["double"] is not None else match["single"]


def _check_length(text: bytes, match: re.Match[bytes], line: int) -> None:
    """nginx keeps a word's bytes, and with it the blank that follows, in its buffer until it knows the word."""
    begin, end = match.start(), match.end()
    if match["space"] is not None or end - begin < BUFFER - 2:
        return
    quoted = match["quoted"] is not None
    begin += quoted
    blank = match["comment"] is None and text[end : end + 1] in (b" ", b"\t", b"\r", b"\n")
    if end + blank - begin < BUFFER or begin + BUFFER >= len(text):
        return
    if quoted and end - begin > BUFFER:
        what = f'too long parameter, probably missing terminating "{match[0][:1].decode()}" character'
    else:
        what = f'too long parameter "{_shown(text[begin : begin + 10])}..." started'
    raise TextFault(what, line)


def _word(raw: bytes, line: int) -> str:
    try:
        return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), raw).decode()
    except UnicodeDecodeError as error:
        raise TextFault(f"not UTF-8: byte 0x{raw[error.start]:02x}", line) from None


def _shown(raw: bytes) -> str:
    return raw.decode("ascii", "backslashreplace")


def _cut_off(line: int, parameter: bool) -> TextFault:
    if parameter:
        return TextFault('unexpected end of parameter, expecting ";"', line)
    return TextFault('unexpected end of file, expecting ";" or "}"', line)
