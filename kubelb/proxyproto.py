"""The PROXY protocol, in which a proxy tells where its client came from and went to; pure.

Both versions are read and the first is written, as nginx does it (src/core/ngx_proxy_protocol.c of 1.22; the
protocol itself: HAProxy's doc/proxy-protocol.txt). So a header has 107 bytes at most, in the second version too; what
it tells of other than TCP over IP, and TLVs, are passed over; and the addresses of the first version are the texts
that have been written there. Unlike nginx, which looks once at what has arrived, a reader may wait for the rest of a
header that comes in pieces.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kubelb.inet import packed_host, shown

MOST = 107
"""Bytes that a header has at most."""

Endpoint = tuple[str, int]
"""An address as nginx shows it, and a port."""

_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_UNKNOWN = b"PROXY UNKNOWN"
_TCP = (b"PROXY TCP4 ", b"PROXY TCP6 ")
_STARTS = (_V2, _UNKNOWN, *_TCP)
_LINE = re.compile(rb"PROXY TCP[46] ([0-9A-Fa-f:.]*) ([0-9A-Fa-f:.]*) ([0-9]+) ([0-9]+)")
_LINE_SO_FAR = re.compile(rb"PROXY TCP[46] [0-9A-Fa-f:. ]*\r?")
_V2_HEAD = 16
_PROXY, _STREAM = 1, 1
_ADDRESS_BYTES = {1: 4, 2: 16}
"""By address family; of others nothing is known."""


class HeaderFault(Exception):
    """It is no header that nginx takes; the text says why, in one printable line."""


class Header(NamedTuple):
    """What was in front of a client's own bytes. Without addresses: there is no telling, its connection's count."""

    length: int
    """Bytes."""
    source: Endpoint | None = None
    """The client: ``$proxy_protocol_addr`` and ``$proxy_protocol_port``."""
    destination: Endpoint | None = None
    """Where it connected to: ``$proxy_protocol_server_addr`` and ``$proxy_protocol_server_port``."""


def decode(data: bytes) -> Header | None:
    """The header that ``data`` begins with; None: what is there may become one, and is shorter than :data:`MOST`.

    Raises :class:`HeaderFault` as soon as it cannot.
    """
    data = data[:MOST]
    if not any(start.startswith(data[: len(start)]) for start in _STARTS):
        raise HeaderFault(f"not a PROXY protocol header: {data[:16]!r}")
    return _decode_v2(data) if data[:1] == _V2[:1] else _decode_v1(data)


def _decode_v1(data: bytes) -> Header | None:
    line, end, _ = data.partition(b"\r\n")
    if not end:
        _check_so_far(data)
        return None
    length = len(line) + len(end)
    if line.startswith(_UNKNOWN):
        return Header(length)
    fields = _LINE.fullmatch(line)
    if fields is None:
        raise HeaderFault(f"broken header: {line!r}")
    source, destination, source_port, destination_port = (field.decode() for field in fields.groups())
    if int(source_port) > 65535 or int(destination_port) > 65535:
        raise HeaderFault(f"port out of range: {line!r}")
    return Header(length, (source, int(source_port)), (destination, int(destination_port)))


def _check_so_far(data: bytes) -> None:
    if len(data) == MOST:
        raise HeaderFault(f"no end of line within {MOST} bytes: {data!r}")
    if data.startswith(_TCP) and not _LINE_SO_FAR.fullmatch(data):
        raise HeaderFault(f"broken header: {data!r}")


def _decode_v2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD:
        return None
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    length = _V2_HEAD + int.from_bytes(data[14:_V2_HEAD], "big")
    if version != 2:
        raise HeaderFault(f"unknown PROXY protocol version: {version}")
    if length > MOST:
        raise HeaderFault(f"header is too large: {length} bytes, at most {MOST} are taken")
    if len(data) < length:
        return None
    if command != _PROXY or transport != _STREAM or family not in _ADDRESS_BYTES:
        return Header(length)
    return _with_addresses(data[:length], _ADDRESS_BYTES[family])


def _with_addresses(data: bytes, size: int) -> Header:
    source, destination = _V2_HEAD, _V2_HEAD + size
    ports = destination + size
    if len(data) < ports + 4:
        raise HeaderFault(f"no room for the addresses in a header of {len(data)} bytes")
    return Header(
        len(data),
        (shown(data[source:destination]), int.from_bytes(data[ports : ports + 2], "big")),
        (shown(data[destination:ports]), int.from_bytes(data[ports + 2 : ports + 4], "big")),
    )


def encode(source: Endpoint, destination: Endpoint) -> bytes:
    """What nginx puts in front of a client's bytes: ``ngx_proxy_protocol_write``.

    ``source`` is the client's address, ``destination`` the one it connected to. Their hosts are addresses, or begin
    with ``unix:``.
    """
    client = _written(source[0])
    if client.startswith("unix:"):
        return b"PROXY UNKNOWN\r\n"
    version = 6 if ":" in client else 4
    line = f"PROXY TCP{version} {client} {_written(destination[0])} {source[1]} {destination[1]}\r\n"
    return line.encode()


def _written(host: str) -> str:
    return host if host.startswith("unix:") else shown(packed_host(host))
