"""Tells a TLS ClientHello from everything else that a client may say first; pure.

A ClientHello asks a server for nothing but an answer, so the same one may be sent to two servers and has no effect
on either. That holds only where nothing stands behind it and no early data is announced in it, which a server might
act upon (RFC 8446, section 8). The forms are those of RFC 8446, sections 4.1.2 and 5.1, and of RFC 5246 before it.
"""

from __future__ import annotations

HANDSHAKE = 22
"""The content type with which a handshake's records begin, those of a server too."""
_CLIENT_HELLO = 1
_EARLY_DATA = 42
_MAJOR_VERSION = 3
_RECORD_HEAD = 5
_MESSAGE_HEAD = 4
_MOST = 1 << 14
"""Bytes that a record may carry."""
_RANDOM = 32
_SESSION_ID = 32
"""Bytes at most."""


def is_lone_hello(data: bytes) -> bool:
    """Whether the bytes are one TLS record with one whole ClientHello, which announces no early data."""
    length = len(data) - _RECORD_HEAD
    if length < _MESSAGE_HEAD or length > _MOST or data[0] != HANDSHAKE or data[1] != _MAJOR_VERSION:
        return False
    if _number(data, 3, 2) != length or data[5] != _CLIENT_HELLO or _number(data, 6, 3) != length - _MESSAGE_HEAD:
        return False
    return _is_body(data[_RECORD_HEAD + _MESSAGE_HEAD :])


def _is_body(body: bytes) -> bool:
    at = 2 + _RANDOM
    if len(body) <= at or body[0] != _MAJOR_VERSION:
        return False
    session_id = body[at]
    at += 1 + session_id
    ciphers = _number(body, at, 2)
    at += 2 + ciphers
    compressions = _number(body, at, 1)
    at += 1 + compressions
    if session_id > _SESSION_ID or not ciphers or ciphers % 2 or not compressions or at > len(body):
        return False
    # Before TLS 1.3 there need not be any extensions.
    return at == len(body) or _are_extensions(body[at:])


def _are_extensions(data: bytes) -> bool:
    """Whether they are whole, and none of them announces early data."""
    at = 2
    if len(data) < at or _number(data, 0, 2) != len(data) - at:
        return False
    while at < len(data):
        if len(data) - at < 4 or _number(data, at, 2) == _EARLY_DATA:
            return False
        at += 4 + _number(data, at + 2, 2)
    return at == len(data)


def _number(data: bytes, at: int, size: int) -> int:
    """What is missing at the end counts as nothing: whoever asks finds out by the lengths."""
    return int.from_bytes(data[at : at + size], "big")
