"""IP addresses as text, the way nginx reads and writes them; pure.

nginx has its own functions for both (src/core/ngx_inet.c), which take some texts that inet_pton(3) refuses, refuse
some that it takes, and write others than it does. What clients claim, what rules name and what logs show has to be
the same here and there.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from kubelb.reasons import ValueFault

_WORD = re.compile(r"[0-9A-Fa-f]{1,4}")
_OCTET = re.compile(r"0*([0-9]{0,3})")
_NONE = b"\xff\xff\xff\xff"
"""INADDR_NONE: nginx cannot tell this address from a fault."""
_MAPPED = bytes(10) + b"\xff\xff"


def packed(text: str) -> bytes:
    """The 4 or 16 bytes of an address: ``ngx_parse_addr``. Raises :class:`ValueFault`."""
    try:
        return _packed_ipv4(text)
    except ValueError:
        return _packed_ipv6(text)


def _packed_ipv4(text: str) -> bytes:
    """``ngx_inet_addr``: four decimal numbers, any of which may be left out."""
    octets = [int(match[1] or "0") for octet in text.split(".") if (match := _OCTET.fullmatch(octet))]
    if len(octets) == text.count(".") + 1 == 4 and max(octets) < 256 and bytes(octets) != _NONE:
        return bytes(octets)
    raise ValueFault(f'not an IPv4 address: "{text}"')


def _packed_ipv6(text: str) -> bytes:
    """``ngx_inet6_addr``."""
    *fields, last = text.removeprefix(":").split(":")
    words, gap = b"", None
    for field in fields:
        if field:
            words += _packed_word(field)
        elif gap is None:
            gap = len(words)
        else:
            raise ValueFault(f'not an IPv6 address: "{text}"')
    if fields and "." in last:
        _packed_word(last.partition(".")[0])
        words += _packed_ipv4(last)
    elif last or gap is None:
        words += _packed_word(last)
    else:
        words += bytes(2)
    if len(words) == 16 and gap is None:
        return words
    if len(words) < 16 and gap is not None:
        return words[:gap] + bytes(16 - len(words)) + words[gap:]
    raise ValueFault(f'not an IPv6 address: "{text}"')


def _packed_word(text: str) -> bytes:
    if not _WORD.fullmatch(text):
        raise ValueFault(f'not a part of an IPv6 address: "{text}"')
    return int(text, 16).to_bytes(2, "big")


def packed_host(host: str) -> bytes:
    """The bytes of an address as the kernel writes it, or :func:`shown`; without its scope."""
    return ip_address(host.partition("%")[0]).packed


def unmapped(address: bytes) -> bytes:
    """The IPv4 address that an IPv6 address stands for (RFC 4291, 2.5.5.2), where it does."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


def shown(address: bytes) -> str:
    """The text of a packed address: ``ngx_sock_ntop``."""
    if len(address) == 4:
        return ".".join(map(str, address))
    words = [int.from_bytes(address[place : place + 2], "big") for place in range(0, 16, 2)]
    zeros, first = _longest_zeros(words)
    if first == 0 and _shows_ipv4(zeros, address):
        return f"::{'ffff:' if zeros == 5 else ''}{shown(address[12:])}"
    texts = [f"{word:x}" for word in words]
    if zeros < 2:
        return ":".join(texts)
    return f"{':'.join(texts[:first])}::{':'.join(texts[first + zeros :])}"


def _longest_zeros(words: list[int]) -> tuple[int, int]:
    """How many words the longest run of zeros has, and where the first such run begins."""
    longest, first, run = 0, 0, 0
    for place, word in enumerate(words):
        run = 0 if word else run + 1
        if run > longest:
            longest, first = run, place - run + 1
    return longest, first


def _shows_ipv4(zeros: int, address: bytes) -> bool:
    """Of an address that begins with so many zero words: whether its end is written as an IPv4 address."""
    return (
        (zeros == 5 and address[10:12] == b"\xff\xff")
        or zeros == 6
        or (zeros == 7 and address[14] != 0 and address[15] != 1)
    )
