"""nginx's ``upstream {}`` into a pool; pure.

``ngx_stream_upstream_server`` (src/stream/ngx_stream_upstream.c) is the source; of ``resolve`` and ``service`` that
of nginx 1.27.3.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kubelb.config.model.pools import PASSIVE, Balance, Pool, Server
from kubelb.config.nginx.checks import checks
from kubelb.config.nginx.resolver import Resolving
from kubelb.config.nginx.syntax import Directive, Handler, Notes, parse_count, parse_time
from kubelb.config.values import Address, parse_address
from kubelb.config.variables import compile_key
from kubelb.reasons import ValueFault

_NOT_SUPPORTED: Final = {"slow_start": "a server has its full share at once"}


class Upstream:
    """One ``upstream {}``."""

    def __init__(self, notes: Notes, name: str) -> None:
        self._notes = notes
        self._name = name
        self._servers: list[Server] = []
        self._balance: Balance | None = None
        self._hashing: dict[str, Any] = {}
        self.resolves: Directive | None = None
        """The first server that is a name to be looked up again."""
        self.resolving = Resolving(notes)
        """How, as far as it is said here."""
        self.handlers: dict[str, Handler] = {
            "server": self._server,
            "least_conn": self._least_conn,
            "hash": self._hash,
            "random": self._random,
            **checks("upstream", notes),
            **self.resolving.handlers,
        }

    def pool(self) -> Pool:
        servers = self._servers
        if self.resolves is None:
            servers = [msgspec.structs.replace(server, resolve=True) for server in servers]
        return Pool(servers=tuple(servers), balance=self._balance or "round_robin", health=PASSIVE, **self._hashing)

    def _server(self, directive: Directive) -> None:
        key = ("pool", self._name, "servers", len(self._servers))
        self._notes.places[key] = directive.place()
        settings: dict[str, Any] = {"resolve": False}
        for parameter in directive.args[1:]:
            settings.update([_server_parameter(parameter)])
        text, of_a_service = directive.args[0], "service" in settings
        address = parse_address(text, 0 if of_a_service else None)
        if of_a_service:
            _check_service(text, address, settings["resolve"])
        if not address.is_name:
            settings["resolve"] = True
        elif settings["resolve"] and self.resolves is None:
            self.resolves = directive
        self._servers.append(Server(address=address, **settings))

    def _choose(self, balance: Balance) -> None:
        if self._balance is not None:
            raise ValueFault("a second balancing method; choose one")
        self._balance = balance

    def _least_conn(self, directive: Directive) -> None:
        self._choose("least_conn")

    def _hash(self, directive: Directive) -> None:
        key, *how = directive.args
        if how not in ([], ["consistent"]):
            raise ValueFault(f'invalid parameter "{how[0]}"; only "consistent" may follow the key')
        compile_key(key, self._notes.worker)
        self._hashing = {"hash_key": key}
        self._choose("consistent_hash" if how else "hash")

    def _random(self, directive: Directive) -> None:
        if directive.args not in ((), ("two",), ("two", "least_conn")):
            raise ValueFault(
                f'invalid parameter "{directive.args[-1]}"; write random, random two or random two least_conn'
            )
        self._choose("random_two" if directive.args else "random")


def _check_service(text: str, address: Address, resolve: bool) -> None:
    if not resolve:
        raise ValueFault(f'service upstream "{text}" requires "resolve" parameter')
    if address.port or address.path is not None:
        raise ValueFault(f'service upstream "{text}" may not have port; its SRV records have one')
    if not address.is_name:
        raise ValueFault(f'service upstream "{text}" requires domain name')


def _server_parameter(text: str) -> tuple[str, object]:
    """The field of the model and its value; ``ngx_stream_upstream_server`` is the source."""
    name, equals, value = text.partition("=")
    if name in _NOT_SUPPORTED:
        raise ValueFault(f"{name}: {_NOT_SUPPORTED[name]}")
    if not equals and name in ("backup", "down", "resolve"):
        return name, True
    if equals and name == "service":
        if not value:
            raise ValueFault("service is empty; write for example service=https")
        return name, value
    if equals and name in ("weight", "max_fails", "max_conns"):
        return name, _parameter_count(text, value, 1 if name == "weight" else 0)
    if equals and name == "fail_timeout":
        return name, parse_time(value, whole_seconds=True)
    raise ValueFault(f'invalid parameter "{text}"')


def _parameter_count(text: str, value: str, least: int) -> int:
    try:
        count = parse_count(value)
    except ValueError:
        count = -1
    if count < least:
        raise ValueFault(f'invalid parameter "{text}"; write a number from {least} up')
    return count
