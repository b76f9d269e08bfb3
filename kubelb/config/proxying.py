"""What of the way to a server may depend on the client: the address that is connected from, bytes a second; pure.

Both are texts with variables, which are compiled once and evaluated for each session. ``proxy_bind``,
``proxy_upload_rate`` and ``proxy_download_rate`` of nginx's src/stream/ngx_stream_proxy_module.c are the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from kubelb.config.variables import Client, Worker, compile_key
from kubelb.inet import packed, shown
from kubelb.reasons import ValueFault

T = TypeVar("T")

_SIZE: Final = re.compile(r"(?P<count>[0-9]{1,12})(?P<unit>[kKmM]?)")
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20}
_PORT: Final = re.compile(r"[0-9]{1,9}")
_NOWHERE: Final = Worker("", 0)

Source = tuple[str, int]
"""A numeric host and a port, 0: any."""
OfClient = Callable[[Client], T]
"""Raises :class:`ValueFault` for a client for whom the text makes no such thing."""


def parse_size(text: str) -> int:
    """Bytes, with ``k`` or ``m`` for KiB or MiB: ``ngx_parse_size`` (src/core/ngx_parse.c)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueFault(f'not a size: "{text}"; write for example 65536, 64k or 1m')
    return int(match["count"]) * _UNITS[match["unit"].lower()]


def parse_source(text: str) -> Source:
    """An address, with or without a port, an IPv6 address in brackets if with: ``ngx_parse_addr_port``
    (src/core/ngx_inet.c)."""
    try:
        return shown(packed(text)), 0
    except ValueError:
        host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise _not_an_address(text)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return shown(packed(host)), int(port)
    except ValueError:
        raise _not_an_address(text) from None


def _not_an_address(text: str) -> ValueFault:
    return ValueFault(f'invalid address "{text}"; write for example 10.0.0.5 or 10.0.0.5:4000')


def compile_rate(text: str, worker: Worker = _NOWHERE) -> OfClient[int]:
    """Bytes a second, 0: as they come. Raises :class:`ValueFault`, saying what would be right."""
    return _compiled(text, parse_size, worker)


def compile_source(text: str, worker: Worker = _NOWHERE) -> OfClient[Source | None]:
    """Where connections to servers are from; None, where the text is empty: wherever the kernel has it.

    Raises :class:`ValueFault`, saying what would be right.
    """
    return _compiled(text, lambda made: parse_source(made) if made else None, worker)


def _compiled(text: str, parse: Callable[[str], T], worker: Worker) -> OfClient[T]:
    if "$" not in text:
        value = parse(text)
        return lambda client: value
    expression = compile_key(text, worker)
    return lambda client: parse(expression(client).decode("latin-1"))
