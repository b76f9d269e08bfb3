"""The first words of TLS: what OpenSSL says as a client, and hellos put together by hand."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress

Extension = tuple[int, bytes]

ANSWER = b"\x16\x03\x03\x00\x01\x02"
"""As a server begins that takes up the handshake."""


def openssl_hello(newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client says first, whole."""
    context = ssl.create_default_context()
    context.maximum_version = newest
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(heard, said, server_hostname="localhost").do_handshake()
    return said.read()


def vector(data: bytes, size: int) -> bytes:
    """With its length in front, in so many bytes."""
    return len(data).to_bytes(size, "big") + data


def client_hello(
    extensions: Sequence[Extension] | None = ((10, b"\0\x02\0\x1d"),),
    ciphers: bytes = b"\x13\x01",
    session_id: bytes = bytes(32),
    compressions: bytes = b"\0",
) -> bytes:
    """RFC 8446, 4.1.2, in one record."""
    body = b"\x03\x03" + bytes(32) + vector(session_id, 1) + vector(ciphers, 2) + vector(compressions, 1)
    if extensions is not None:
        body += vector(b"".join(number.to_bytes(2, "big") + vector(data, 2) for number, data in extensions), 2)
    return record(b"\x01" + vector(body, 3))


def record(message: bytes, kind: int = 22) -> bytes:
    return bytes([kind]) + b"\x03\x01" + vector(message, 2)


EARLY: Extension = (42, b"")
"""Announces early data."""
