"""nginx's ``limit_conn`` and what belongs to it into the limits of listeners; pure.

``ngx_stream_limit_conn_commands`` (src/stream/ngx_stream_limit_conn_module.c, nginx 1.22) is the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kubelb.config.faults import Key, Place
from kubelb.config.model.listeners import Limit
from kubelb.config.model.logs import LogLevel
from kubelb.config.nginx.syntax import Directive, Handler, Notes, only_argument, parse_count, read_flag
from kubelb.config.proxying import parse_size
from kubelb.config.rules.limits import MAX_CONNECTIONS
from kubelb.config.variables import compile_key
from kubelb.reasons import ValueFault

_LEAST_SIZE: Final = 8 * 4096
"""Bytes of a zone: eight pages."""
_LEVELS: Final[Mapping[str, LogLevel]] = {"info": "info", "notice": "info", "warn": "warning", "error": "error"}


class Limiting:
    """Takes the directives in, those of ``stream {}`` or of one ``server {}`` in it."""

    def __init__(self, notes: Notes, outer: Limiting | None = None) -> None:
        """``outer`` has read all of the block around this one."""
        self._notes = notes
        self._outer = outer
        self._zones: dict[str, str] = {} if outer is None else outer._zones
        """Their keys, by name."""
        self._limits: dict[str, tuple[int, Directive]] = {}
        """How many, by the zone."""
        self._dry_run: bool = False if outer is None else outer._dry_run
        self._log_level: LogLevel = "error" if outer is None else outer._log_level
        self.handlers: Mapping[str, Handler] = {
            "limit_conn_zone": self._zone,
            "limit_conn": self._limit,
            "limit_conn_dry_run": self._set_dry_run,
            "limit_conn_log_level": self._set_log_level,
        }

    def check(self) -> None:
        """Refuse limits without a zone, which may follow them."""
        for zone, (_, directive) in self._limits.items():
            if zone not in self._zones:
                self._notes.refuse(directive, f'zero size shared memory zone "{zone}"', "write a limit_conn_zone")

    def settings(self) -> tuple[Limit, ...]:
        """Those of the listener: the outer block's, if this one has none."""
        return tuple(
            Limit(
                key=self._zones[zone],
                connections=connections,
                zone=zone,
                dry_run=self._dry_run,
                log_level=self._log_level,
            )
            for zone, (connections, _) in self._in_effect().items()
            if zone in self._zones
        )

    def place(self, places: dict[Key, Place], key: Key) -> None:
        """Where the limits of the listener ``key`` stand."""
        directives = (directive for _, directive in self._in_effect().values())
        places.update({(*key, "limit", i): directive.place() for i, directive in enumerate(directives)})

    def _in_effect(self) -> dict[str, tuple[int, Directive]]:
        return self._limits if self._limits or self._outer is None else self._outer._limits

    def _zone(self, directive: Directive) -> None:
        key, *parameters = directive.args
        compile_key(key, self._notes.worker)
        for parameter in parameters:
            name = _zone_name(parameter)
        if name in self._zones:
            raise ValueFault(f'limit_conn_zone "{name}" is already bound to key "{self._zones[name]}"')
        self._zones[name] = key

    def _limit(self, directive: Directive) -> None:
        zone, text = directive.args
        if zone in self._limits:
            raise ValueFault("directive is duplicate; write it once for each zone")
        try:
            connections = parse_count(text)
        except ValueError:
            connections = 0
        if not connections:
            raise ValueFault(f'invalid number of connections "{text}"')
        if connections > MAX_CONNECTIONS:
            raise ValueFault("connection limit must be less 65536")
        self._limits[zone] = (connections, directive)

    def _set_dry_run(self, directive: Directive) -> None:
        self._dry_run = read_flag(directive)

    def _set_log_level(self, directive: Directive) -> None:
        text = only_argument(directive)
        if text not in _LEVELS:
            raise ValueFault(f'invalid value "{text}"; one of {", ".join(_LEVELS)}')
        self._log_level = _LEVELS[text]


def _zone_name(parameter: str) -> str:
    """Its size is nginx's affair: here all zones have their room in the shared counters."""
    if not parameter.startswith("zone="):
        raise ValueFault(f'invalid parameter "{parameter}"')
    name, colon, size = parameter.removeprefix("zone=").partition(":")
    try:
        count = parse_size(size) if colon else -1
    except ValueError:
        count = -1
    if count < 0:
        raise ValueFault(f'invalid zone size "{parameter}"; write for example zone=clients:1m')
    if count < _LEAST_SIZE:
        raise ValueFault(f'zone "{parameter}" is too small; write for example zone=clients:1m')
    if not name:
        raise ValueFault('"limit_conn_zone" must have "zone" parameter')
    return name
