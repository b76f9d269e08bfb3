"""The values that settings are made of: durations, addresses and paths; pure.

Each ``parse_*`` raises :class:`ValueFault` whose text says what would be right.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal

import msgspec

from kubelb.reasons import ValueFault

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd])?")
_PORT = re.compile(r"[0-9]{1,9}")
_PATH = re.compile(r"/[!-~]*")
_UNIX = "unix:"
MAX_UNIX_PATH = 107
"""Bytes that the path of a unix socket may have: sockaddr_un has room for them and a zero (unix(7))."""


class Duration(float):
    """A length of time, in seconds."""

    def __str__(self) -> str:
        return format_duration(self)


def parse_duration(text: str) -> Duration:
    """``"10m"``, ``"250ms"``, ``"1h30m"``; a bare number is seconds."""
    total, end = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != end:
            break
        total += float(match[1]) * _UNITS[match[2] or "s"]
        end = match.end()
    if not text or end != len(text):
        raise ValueFault(f'not a duration: "{text}"; write for example "2s", "250ms" or "10m"')
    return Duration(total)


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads back as the same number."""
    for unit in ("d", "h", "m", "s", "ms"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count) and int(count) * _UNITS[unit] == seconds:
            return f"{int(count)}{unit}"
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{Decimal(repr(float(seconds))):f}s"


class Address(msgspec.Struct, frozen=True, order=True):
    """A TCP address. ``host`` is a name, an IPv4 or an IPv6 address, as the operator wrote it, without brackets.

    Or that of a unix socket: ``host`` is ``unix:`` and its path, ``port`` is 0. Or a name alone, with port 0 as well:
    SRV records have the port.
    """

    host: str
    port: int

    @property
    def path(self) -> str | None:
        """Of a unix socket; None: it is a TCP address."""
        return self.host[len(_UNIX) :] if self.host.startswith(_UNIX) else None

    @property
    def is_name(self) -> bool:
        """Whether a name service has to be asked for it."""
        return self.path is None and not is_numeric(self.host)

    def __str__(self) -> str:
        if self.path is not None:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def parse_address(text: str, default_port: int | None = None) -> Address:
    """``host:port``, ``[ipv6]:port`` or ``unix:/path``; without a port only where ``default_port`` is given."""
    if is_unix(text):
        return _parse_unix(text)
    scheme, is_url, rest = text.partition("://")
    if is_url:
        raise ValueFault(
            f'{scheme}:// means nothing here, in "{text}"; write {rest.partition("/")[0] or "host:port"}'
        )
    host, port_text = _split(text)
    if not host or any(c.isspace() or c in "[]/*" for c in host):
        raise ValueFault(f'not an address: "{text}"; write host:port or [ipv6]:port')
    if ":" in host and not is_numeric(host):
        raise ValueFault(f'not an IPv6 address: "{host}"; write host:port or [ipv6]:port')
    if port_text is None:
        if default_port is None:
            raise ValueFault(f'no port in "{text}"; write host:port or [ipv6]:port')
        return Address(host, default_port)
    if not _PORT.fullmatch(port_text) or not 1 <= int(port_text) <= 65535:
        raise ValueFault(f'port out of range in "{text}"; a port is a number from 1 to 65535')
    return Address(host, int(port_text))


def is_unix(text: str) -> bool:
    """Whether it is to be the address of a unix socket. Case does not count, as in nginx's ``ngx_parse_url``."""
    return text[: len(_UNIX)].lower() == _UNIX


def _parse_unix(text: str) -> Address:
    """``ngx_parse_unix_domain_url`` (src/core/ngx_inet.c)."""
    path = text[len(_UNIX) :]
    if not path:
        raise ValueFault("no path in the unix domain socket; write for example unix:/run/kubelb/api.sock")
    if len(path.encode(errors="replace")) > MAX_UNIX_PATH:
        raise ValueFault(
            f'too long path in the unix domain socket "{text}"; at most {MAX_UNIX_PATH} bytes are possible'
        )
    if not path.startswith("/") or not path.isprintable():
        raise ValueFault(f'"{path}" is not the path of a unix socket; begin it with /, without control characters')
    return Address(_UNIX + path, 0)


def parse_path(text: str) -> str:
    """A path as it stands in an HTTP request line."""
    if not text.startswith("/"):
        raise ValueFault(f'"{text}" is not a path; begin it with /')
    if not _PATH.fullmatch(text):
        raise ValueFault(f'"{text}" is not a path; write printable ASCII without spaces')
    return text


def is_numeric(host: str) -> bool:
    """Is it an IPv4 or IPv6 address, which no name service needs to know?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def same_host(host: str) -> str:
    """A text that is equal for hosts that are the same: addresses in one form, names in lower case."""
    if host.startswith(_UNIX):
        return host
    return str(ipaddress.ip_address(host)) if is_numeric(host) else host.lower()


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            return "", None
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        raise ValueFault(f'IPv6 without brackets: "{text}"; write [{text}]:port')
    host, colon, port = text.partition(":")
    return host, port if colon else None
