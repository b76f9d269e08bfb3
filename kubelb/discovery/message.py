"""DNS messages: the question for a name's addresses or services, and what an answer says; pure.

RFC 1035 is the source of the form (4.1), RFC 3596 that of AAAA, RFC 2782 that of SRV. An answer may come from
anybody: nothing in it is followed further than the message is long.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from kubelb.reasons import ValueFault

MAX_MESSAGE: Final = 65535
"""Bytes, over TCP (RFC 1035, 4.2.2)."""
_HEADER: Final = struct.Struct(">HHHHHH")
_QUESTION: Final = struct.Struct(">HH")
_RECORD: Final = struct.Struct(">HHIH")
_SERVICE: Final = struct.Struct(">HHH")
_HOST_NAME: Final = re.compile(rb"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
"""What may be shown to the operator and asked for in turn (RFC 1123, 2.1, and the underscores that there are)."""
_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_RECURSE: Final = 0x0100
_CODE: Final = 0x000F
_INTERNET: Final = 1
_CNAME: Final = 5
_MAX_NAME: Final = 255
"""Bytes of a name on the wire (RFC 1035, 2.3.4)."""
_MAX_POINTERS: Final = 128
"""A name has no more labels, and nothing is gained by a pointer to a pointer."""
_MAX_ALIASES: Final = 16
_MAX_TTL: Final = (1 << 31) - 1
"""Seconds; more counts as none (RFC 2181, 8)."""

NO_ERROR: Final = 0
NO_SUCH_NAME: Final = 3


class Kind(IntEnum):
    """Of a record, with the numbers that the wire has for them."""

    A = 1
    AAAA = 28
    SRV = 33


class BadMessage(Exception):
    """An answer that makes no sense."""


class Service(NamedTuple):
    """What one SRV record says."""

    priority: int
    """The lowest comes first."""
    weight: int
    port: int
    host: str
    """A name; never empty."""


class Reply(NamedTuple):
    """What an answer says."""

    code: int
    """Its RCODE."""
    truncated: bool
    """There is more than this message could hold."""
    addresses: tuple[str, ...]
    ttl: int
    """Seconds for which that holds."""
    services: tuple[Service, ...] = ()


def encode_name(name: str) -> bytes:
    """As on the wire; a dot at its end changes nothing. Raises :class:`ValueFault` for what is no host name."""
    try:
        labels = name.removesuffix(".").encode("idna").split(b".")
    except UnicodeError:
        raise ValueFault(f'"{name}" is not a host name') from None
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if not all(0 < len(label) < 64 for label in labels) or len(encoded) > _MAX_NAME:
        raise ValueFault(f'"{name}" is not a host name')
    return encoded


def question(identity: int, name: str, kind: Kind) -> bytes:
    """The message that asks for the name's records of that kind; ``identity`` has 16 bits.

    Raises :class:`ValueFault` for what is no host name.
    """
    return _HEADER.pack(identity, _RECURSE, 1, 0, 0, 0) + encode_name(name) + _QUESTION.pack(kind, _INTERNET)


def read_reply(message: bytes, asked: bytes) -> Reply | None:
    """What it says to the question ``asked``; None: it is no answer to that one.

    Raises :class:`BadMessage`.
    """
    if len(message) < _HEADER.size:
        return None
    identity, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    end = len(asked)
    same = message[_HEADER.size : end].lower() == asked[_HEADER.size :].lower()
    if identity != _HEADER.unpack_from(asked)[0] or not flags & _RESPONSE or flags & _OPCODE:
        return None
    code = flags & _CODE
    if code not in (NO_ERROR, NO_SUCH_NAME) and questions == 0:
        return Reply(code, False, (), 0)
    if questions != 1 or not same:
        return None
    if code != NO_ERROR or flags & _TRUNCATED:
        return Reply(code, bool(flags & _TRUNCATED), (), 0)
    name, at = _name(message, _HEADER.size)
    (kind, _) = _QUESTION.unpack_from(message, at)
    found, ttl = _found(name, list(_records(message, end, answers)), kind)
    if kind == Kind.SRV:
        return Reply(NO_ERROR, False, (), ttl, tuple(filter(None, map(_service, found))))
    return Reply(NO_ERROR, False, tuple(dict.fromkeys(map(_address, found))), ttl)


class _Record(NamedTuple):
    owner: bytes
    kind: int
    ttl: int
    value: bytes
    """Of a CNAME the name, of an SRV what stands before the name and then that, else the bytes."""


def _records(message: bytes, at: int, count: int) -> Iterator[_Record]:
    for _ in range(count):
        owner, at = _name(message, at)
        if at + _RECORD.size > len(message):
            raise BadMessage("it ends within a record")
        kind, family, ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if at + length > len(message):
            raise BadMessage("it ends within a record")
        value = message[at : at + length]
        before = {_CNAME: 0, Kind.SRV: _SERVICE.size}.get(kind)
        if before is not None:
            # RFC 2782 wants no pointer in an SRV, but some servers write one and all resolvers read it.
            name, end = _name(message, at + before)
            if end != at + length:
                raise BadMessage("a name is not as long as its record")
            value = value[:before] + name
        at += length
        if family == _INTERNET:
            yield _Record(owner, kind, ttl if ttl <= _MAX_TTL else 0, value)


def _found(name: bytes, records: list[_Record], kind: int) -> tuple[list[_Record], int]:
    """Those of the name, or of what it is an alias of, and for how many seconds they hold."""
    ttls: list[int] = []
    for _ in range(_MAX_ALIASES):
        alias = next((record for record in records if record.owner == name and record.kind == _CNAME), None)
        if alias is None:
            break
        ttls.append(alias.ttl)
        name = alias.value
    found = [record for record in records if record.owner == name and record.kind == kind]
    return found, min(ttls + [record.ttl for record in found], default=0)


def _address(record: _Record) -> str:
    size = 4 if record.kind == Kind.A else 16
    if len(record.value) != size:
        raise BadMessage("an address is of the wrong length")
    return str(IPv4Address(record.value) if size == 4 else IPv6Address(record.value))


def _service(record: _Record) -> Service | None:
    """None: it says that there is no such service (RFC 2782, "."), or names no port to connect to."""
    priority, weight, port = _SERVICE.unpack_from(record.value)
    host = record.value[_SERVICE.size :]
    if not host or not port:
        return None
    if not _HOST_NAME.fullmatch(host):
        raise BadMessage("a service is at what is no host name")
    return Service(priority, weight, port, host.decode("ascii"))


def _name(message: bytes, at: int) -> tuple[bytes, int]:
    """The name at that place, in lower case and without compression, and where it ends there.

    A pointer (RFC 1035, 4.1.4) has to lead further back than all before it, and there are only so many, as whoever
    writes the message is not to say how much is computed here.
    """
    labels: list[bytes] = []
    end, first, length, pointers = -1, at, 1, 0
    while True:
        size = _byte(message, at)
        if size & 0xC0 == 0xC0:
            target = (size & 0x3F) << 8 | _byte(message, at + 1)
            pointers += 1
            if target >= first or pointers > _MAX_POINTERS:
                raise BadMessage("a pointer does not lead back")
            end = at + 2 if end < 0 else end
            at = first = target
        elif size & 0xC0:
            raise BadMessage("a label of an unknown kind")
        elif not size:
            return b".".join(labels), at + 1 if end < 0 else end
        else:
            length += 1 + size
            if at + 1 + size > len(message) or length > _MAX_NAME:
                raise BadMessage("a name without an end")
            # A dot within a label is no end of one.
            labels.append(message[at + 1 : at + 1 + size].lower().replace(b"\\", b"\\\\").replace(b".", b"\\."))
            at += 1 + size


def _byte(message: bytes, at: int) -> int:
    if at >= len(message):
        raise BadMessage("it ends within a name")
    return message[at]
