"""``syslog:server=ADDRESS,...``, nginx's name for a syslog server, where a log could be a file; pure.

``ngx_syslog_parse_args`` (nginx's src/core/ngx_syslog.c) and ``ngx_parse_url`` (src/core/ngx_inet.c) are the source,
of the words too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubelb.config.model.logs import Syslog
from kubelb.config.nginx.syntax import parse_count
from kubelb.config.values import Address, is_unix, parse_address
from kubelb.inet import packed, shown
from kubelb.reasons import ValueFault
from kubelb.syslog.message import FACILITIES, PORT, SEVERITIES, check_tag

PREFIX: Final = "syslog:"
_TAG: Final = "nginx"


def parse_syslog(target: str) -> Syslog:
    """Raises :class:`ValueFault`."""
    settings: dict[str, Any] = {}
    for parameter in target.removeprefix(PREFIX).split(","):
        name, equals, value = parameter.partition("=")
        if parameter == "nohostname":
            settings["hostname"] = False
            continue
        if not equals or name not in _PARAMETERS:
            raise ValueFault(f'unknown syslog parameter "{parameter}"')
        if name in settings:
            raise ValueFault(f'duplicate syslog "{name}"')
        settings[name] = _PARAMETERS[name](value)
    if "server" not in settings:
        raise ValueFault("no syslog server specified")
    return Syslog(**{"tag": _TAG, **settings})


def _server(text: str) -> Address:
    try:
        if is_unix(text):
            return parse_address(text)
        return _bracketed(text) if text.startswith("[") else _bare(text)
    except ValueFault as error:
        what, semicolon, instead = str(error).partition("; ")
        raise ValueFault(f'{what} in syslog server "{text}"{semicolon}{instead}') from None


def _bare(text: str) -> Address:
    """A name or an IPv4 address: ``ngx_parse_inet_url``."""
    if re.search(r"[/?]", text):
        raise ValueFault("invalid host")
    host, colon, port = text.partition(":")
    number = _port(port) if colon else PORT
    if not host:
        raise ValueFault("no host")
    try:
        address = packed(host)
    except ValueError:
        return Address(host, number)
    return Address(shown(address), number)


def _bracketed(text: str) -> Address:
    """An IPv6 address: ``ngx_parse_inet6_url``."""
    host, bracket, rest = text[1:].partition("]")
    if not bracket or "/" in rest or (rest and not rest.startswith(":")):
        raise ValueFault("invalid host")
    number = _port(rest[1:]) if rest else PORT
    if not host:
        raise ValueFault("no host")
    try:
        address = packed(host)
    except ValueError:
        address = b""
    if len(address) != 16:
        raise ValueFault("invalid IPv6 address")
    return Address(shown(address), number)


def _port(text: str) -> int:
    try:
        number = parse_count(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        raise ValueFault("invalid port")
    return number


def _facility(text: str) -> str:
    if text not in FACILITIES:
        raise ValueFault(f'unknown syslog facility "{text}"')
    return text


def _severity(text: str) -> str:
    if text not in SEVERITIES:
        raise ValueFault(f'unknown syslog severity "{text}"')
    return text


def _tag(text: str) -> str:
    check_tag(text)
    return text


_PARAMETERS: Final[Mapping[str, Callable[[str], object]]] = {
    "server": _server,
    "facility": _facility,
    "severity": _severity,
    "tag": _tag,
}
