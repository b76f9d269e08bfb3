"""nginx's ``resolver`` and ``resolve`` into the discovery of pools; pure.

``ngx_resolver_create`` (src/core/ngx_resolver.c) and ``ngx_stream_upstream_server``
(src/stream/ngx_stream_upstream.c) of nginx 1.27 are the source: the first free one whose ``server``
knows ``resolve``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kubelb.config.model.pools import Discovery, Pool
from kubelb.config.nginx.syntax import Directive, Handler, Notes, only_argument, parse_time
from kubelb.config.values import Address, Duration, is_numeric, parse_address
from kubelb.reasons import ValueFault

_PORT: Final = 53
_TIMEOUT: Final = Duration(30)
NO_EFFECT: Final = "has no effect, no server of an upstream is to be looked up again (resolve)"


class Resolving:
    """Takes the directives in, those of ``stream {}`` or of one ``upstream {}`` or ``server {}`` in it.

    Of a server nothing comes of them: nginx looks up with them what ``proxy_pass`` makes of variables.
    """

    def __init__(self, notes: Notes) -> None:
        """``notes`` hear of what has no effect."""
        self._notes = notes
        self._resolver: Directive | None = None
        self._settings: dict[str, Any] = {}
        self._timeout: Duration | None = None
        self.handlers: Mapping[str, Handler] = {
            "resolver": self._read,
            "resolver_timeout": self._read_timeout,
        }

    def within(self, outer: Resolving) -> Resolving:
        """With what only ``outer`` says, as an upstream has it (``ngx_stream_upstream_init_round_robin``,
        src/stream/ngx_stream_upstream_round_robin.c): each directive counts as a whole.
        """
        merged = Resolving(self._notes)
        inner = outer if self._resolver is None else self
        merged._settings = inner._settings
        merged._timeout = outer._timeout if self._timeout is None else self._timeout
        return merged

    def warn_if_unused(self, used: bool) -> None:
        if self._resolver is not None and not used:
            self._notes.warn(self._resolver, NO_EFFECT)

    def discovered(self, upstream: Directive, server: Directive, pool: Pool) -> Pool:
        """The pool of an upstream with that ``server``, which is to ``resolve``; what is missing is noted."""
        name, place = upstream.args[0], f"{upstream.file}:{upstream.line}"
        if not any(inner.name == "zone" for inner in upstream.block or ()):
            what = f'resolving names at run time requires upstream "{name}" in {place} to be in shared memory'
            self._notes.refuse(server, what, "write a zone")
        elif not self._settings.get("resolver"):
            what = f'no resolver defined to resolve names at run time in upstream "{name}" in {place}'
            self._notes.refuse(server, what, "write a resolver, here or in stream {}")
        timeout = _TIMEOUT if self._timeout is None else self._timeout
        discovery = Discovery(source="dns", timeout=timeout, **self._settings)
        return msgspec.structs.replace(pool, discovery=discovery)

    def _read(self, directive: Directive) -> None:
        self._resolver = directive
        addresses: list[Address] = []
        for text in directive.args:
            name, equals, value = text.partition("=")
            if equals and name in ("valid", "ipv4", "ipv6"):
                self._settings.update([_parameter(text, name, value)])
            elif text.startswith("status_zone="):
                raise ValueFault("status_zone: it is of the commercial nginx; metrics tell of servers by address")
            else:
                addresses.append(_resolver_address(text))
        if not self._settings.get("ipv4", True) and not self._settings.get("ipv6", True):
            raise ValueFault('"ipv4" and "ipv6" cannot both be "off"')
        self._settings["resolver"] = tuple(addresses)

    def _read_timeout(self, directive: Directive) -> None:
        timeout = parse_time(only_argument(directive))
        if not timeout:
            raise ValueFault("nothing can be answered in no time; write for example 5s")
        self._timeout = timeout


def _parameter(text: str, name: str, value: str) -> tuple[str, object]:
    if name == "valid":
        try:
            valid = parse_time(value, whole_seconds=True)
        except ValueError:
            raise ValueFault(f"invalid parameter: {text}; write for example valid=30s") from None
        # Without any, as long as the answer says.
        return "interval", valid or None
    if value not in ("on", "off"):
        raise ValueFault(f'invalid parameter: {text}; it must be "on" or "off"')
    return name, value == "on"


def _resolver_address(text: str) -> Address:
    address = parse_address(text, _PORT)
    if not is_numeric(address.host):
        raise ValueFault(f'"{address.host}" is a name; write the address of a DNS server')
    return address
