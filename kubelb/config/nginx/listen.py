"""``listen`` of nginx's ``stream {}``: addresses, port ranges, and the options of the sockets; pure.

``ngx_stream_core_listen`` (src/stream/ngx_stream_core_module.c) and ``ngx_parse_url`` (src/core/ngx_inet.c) are the
source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubelb.config.model.listeners import Binding
from kubelb.config.nginx.syntax import parse_count, parse_listen, parse_time
from kubelb.config.proxying import parse_size
from kubelb.config.values import Address, is_unix
from kubelb.reasons import ValueFault

_RANGE = re.compile(r"(?P<host>.*:|)(?P<first>[0-9]{1,5})-(?P<last>[0-9]{1,5})")
_NEUTRAL: Final = ("bind", "reuseport")
"""Of sockets that all workers share from one process: what they say comes true anyway."""
_REFUSED: Final[Mapping[str, str]] = {
    "ssl": "TLS is passed through, not ended here",
    "udp": "only TCP is carried",
}


def parse_addresses(text: str) -> list[Address]:
    """One, or each port of a range."""
    match = None if is_unix(text) else _RANGE.fullmatch(text)
    if match is None:
        return [parse_listen(text)]
    first, last = int(match["first"]), int(match["last"])
    if not 1 <= first <= last <= 65535:
        raise ValueFault(f'invalid port range in "{text}"; write for example 8000-8003')
    return [parse_listen(f"{match['host']}{port}") for port in range(first, last + 1)]


def parse_binding(parameters: tuple[str, ...]) -> Binding:
    """What the parameters behind the address make of the socket. Raises :class:`ValueFault`."""
    settings: dict[str, Any] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if parameter in _REFUSED:
            raise ValueFault(f"{parameter}: {_REFUSED[parameter]}")
        if equals and name in _OPTIONS:
            try:
                settings |= _OPTIONS[name](value)
            except ValueError:
                raise ValueFault(f'invalid {name} "{value}"') from None
        elif parameter not in _NEUTRAL:
            raise ValueFault(f'invalid parameter "{parameter}"')
    return Binding(**settings)


def _backlog(value: str) -> dict[str, Any]:
    count = parse_count(value)
    if not count:
        raise ValueFault
    return {"backlog": min(count, (1 << 31) - 1)}


def _ipv6only(value: str) -> dict[str, Any]:
    return {"ipv6_only": {"on": True, "off": False}[value]} if value in ("on", "off") else _wrong()


def _keepalive(value: str) -> dict[str, Any]:
    """on, off, or ``idle:interval:count``, each of which may be missing."""
    if value in ("on", "off"):
        return {"keepalive": value == "on"}
    idle, interval, count = (*value.split(":", 2), "", "")[:3]
    settings: dict[str, Any] = {}
    if idle:
        settings["keepalive_idle"] = parse_time(idle, whole_seconds=True)
    if interval:
        settings["keepalive_interval"] = parse_time(interval, whole_seconds=True)
    if count:
        settings["keepalive_count"] = parse_count(count)
    return {"keepalive": True, **settings} if any(settings.values()) else _wrong()


def _wrong() -> dict[str, Any]:
    raise ValueFault


_OPTIONS: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "backlog": _backlog,
    "rcvbuf": lambda value: {"receive_buffer": parse_size(value)},
    "sndbuf": lambda value: {"send_buffer": parse_size(value)},
    "fastopen": lambda value: {"fast_open": parse_count(value)},
    "ipv6only": _ipv6only,
    "so_keepalive": _keepalive,
}
