"""Directives of nginx's ``stream {}`` that change nothing here: their arguments are judged as nginx does it; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from kubelb.config.nginx.directives import HARMLESS
from kubelb.config.nginx.logs import parse_error_log
from kubelb.config.nginx.syntax import Directive, Handler, Notes, parse_count
from kubelb.config.proxying import parse_size
from kubelb.reasons import ValueFault

_Check = Callable[[tuple[str, ...]], object]

_LEAST_ZONE: Final = 32 << 10
"""Bytes: eight pages (``ngx_stream_upstream_zone``, src/stream/ngx_stream_upstream_zone_module.c)."""


def _count(args: tuple[str, ...]) -> object:
    return parse_count(args[0])


def _zone(args: tuple[str, ...]) -> None:
    """One without a size is another pool's."""
    if len(args) > 1 and parse_size(args[1]) < _LEAST_ZONE:
        raise ValueFault(f'zone "{args[0]}" is too small; write at least 32k')


_HASHES: Final[Mapping[str, _Check]] = {
    f"{table}_hash_{limit}": _count for table in ("map", "variables") for limit in ("bucket_size", "max_size")
}
_CHECKS: Final[Mapping[str, Mapping[str, _Check]]] = {
    "stream": {"error_log": parse_error_log, **_HASHES},
    "stream server": {"error_log": parse_error_log},
    "upstream": {"zone": _zone},
}


def checks(context: str, notes: Notes) -> dict[str, Handler]:
    """Handlers of such directives in that context: each is warned of."""

    def handle(check: _Check, directive: Directive) -> None:
        check(directive.args)
        notes.warn(directive, HARMLESS[context][directive.name])

    return {name: partial(handle, check) for name, check in _CHECKS[context].items()}
