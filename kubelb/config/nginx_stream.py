"""nginx's ``stream {}`` into listeners and pools; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubelb.config.hash_key import compile_key
from kubelb.config.model import PASSIVE, Balance, Listener, Pool, Server
from kubelb.config.nginx_syntax import Directive, Handler, Notes, parse_count, parse_time, take_listen, walk
from kubelb.config.values import Address, Duration, parse_address

_CONNECT_TIMEOUT = Duration(60)
_IDLE_TIMEOUT = Duration(600)
_NOT_SUPPORTED = {
    "resolve": "names are resolved once, when the configuration is read",
    "service": "SRV records are not looked up",
    "slow_start": "a server has its full share at once",
}

_Timeouts = dict[str, tuple[Duration, Directive]]
"""By the listener's field: the time, and the directive that sets it."""


class Streams:
    """All of ``stream {}``, in the order of the file."""

    def __init__(self, notes: Notes) -> None:
        self.pools: dict[str, Pool] = {}
        self.listeners: list[Listener] = []
        self.access_log = False
        self._notes = notes
        self._servers: list[Directive] = []

    def read(self, stream: Directive) -> None:
        """``server`` blocks come last: they inherit from the whole block and name any upstream in it."""
        timeouts: _Timeouts = {}
        handlers: dict[str, Handler] = {
            "upstream": self._upstream,
            "server": self._servers.append,
            "access_log": self._access_log,
            **_timeout_handlers(timeouts),
        }
        walk(stream.block or (), "stream", handlers, self._notes)
        for server in self._servers:
            self._server(server, timeouts)

    def _access_log(self, directive: Directive) -> None:
        if directive.args[0] != "off":
            self.access_log = True
            self._notes.warn(directive, "every session is logged, to standard error and in kubelb's own form")

    def _upstream(self, upstream: Directive) -> None:
        name = upstream.args[0]
        if self._known(name):
            raise ValueError(f'duplicate upstream "{name}"')
        reader = _Upstream(self._notes, name)
        walk(upstream.block or (), "upstream", reader.handlers, self._notes)
        self._notes.places["pool", name] = upstream.place()
        self.pools[name] = reader.pool()

    def _server(self, server: Directive, inherited: Mapping[str, tuple[Duration, Directive]]) -> None:
        listens: list[tuple[Address, Directive]] = []
        passes: list[str] = []
        timeouts = dict(inherited)

        def listen(directive: Directive) -> None:
            listens.append((take_listen(directive, self._notes), directive))

        def proxy_pass(directive: Directive) -> None:
            passes.append(self._pool_of(directive))

        handlers: dict[str, Handler] = {
            "listen": listen,
            "proxy_pass": proxy_pass,
            "access_log": self._access_log,
            **_timeout_handlers(timeouts),
        }
        faults = len(self._notes.faults)
        walk(server.block or (), "stream server", handlers, self._notes)
        if len(self._notes.faults) > faults:
            return
        if not listens or not passes:
            missing = "proxy_pass" if listens else "listen"
            self._notes.refuse(server, f'no "{missing}" is defined for server')
            return
        self._place_listener(server, listens, timeouts)
        self.listeners.append(
            Listener(
                listen=tuple(address for address, _ in listens),
                pool=passes[0],
                connect_timeout=timeouts["connect_timeout"][0] if "connect_timeout" in timeouts else _CONNECT_TIMEOUT,
                idle_timeout=timeouts["idle_timeout"][0] if "idle_timeout" in timeouts else _IDLE_TIMEOUT,
            )
        )

    def _place_listener(
        self, server: Directive, listens: list[tuple[Address, Directive]], timeouts: _Timeouts
    ) -> None:
        places, key = self._notes.places, ("listener", len(self.listeners))
        places[key] = server.place()
        places.update({(*key, "listen", i): directive.place() for i, (_, directive) in enumerate(listens)})
        places.update({(*key, name): directive.place() for name, (_, directive) in timeouts.items()})

    def _known(self, name: str) -> str | None:
        """The pool of that name, which nginx compares without case."""
        return next((pool for pool in self.pools if pool.lower() == name.lower()), None)

    def _pool_of(self, directive: Directive) -> str:
        """The upstream a ``proxy_pass`` names, or a pool of the one address it gives."""
        target = directive.args[0]
        if "$" in target:
            raise ValueError("variables are not supported; name an upstream or an address")
        if pool := self._known(target):
            return pool
        if ":" not in target:
            raise ValueError(f'no upstream "{target}", and no port in it; name an upstream or write host:port')
        server = Server(address=_server_address(target))
        if pool := self._known(server.address.host):
            raise ValueError(f'upstream "{pool}" may not have port {server.address.port}')
        self._notes.places["pool", target] = directive.place()
        self.pools[target] = Pool(servers=(server,), balance="round_robin", health=PASSIVE)
        return target


def _timeout_handlers(timeouts: _Timeouts) -> dict[str, Handler]:
    def connect_timeout(directive: Directive) -> None:
        timeouts["connect_timeout"] = (parse_time(directive.args[0]), directive)

    def idle_timeout(directive: Directive) -> None:
        timeouts["idle_timeout"] = (parse_time(directive.args[0]), directive)

    return {"proxy_connect_timeout": connect_timeout, "proxy_timeout": idle_timeout}


class _Upstream:
    """One ``upstream {}``."""

    def __init__(self, notes: Notes, name: str) -> None:
        self._notes = notes
        self._name = name
        self._servers: list[Server] = []
        self._balance: Balance | None = None
        self._hashing: dict[str, Any] = {}
        self.handlers: dict[str, Handler] = {
            "server": self._server,
            "least_conn": self._least_conn,
            "hash": self._hash,
            "random": self._random,
        }

    def pool(self) -> Pool:
        return Pool(
            servers=tuple(self._servers), balance=self._balance or "round_robin", health=PASSIVE, **self._hashing
        )

    def _server(self, directive: Directive) -> None:
        key = ("pool", self._name, "servers", len(self._servers))
        self._notes.places[key] = directive.place()
        settings: dict[str, Any] = {}
        for parameter in directive.args[1:]:
            settings.update([_server_parameter(parameter)])
        self._servers.append(Server(address=_server_address(directive.args[0]), **settings))

    def _choose(self, balance: Balance) -> None:
        if self._balance is not None:
            raise ValueError("a second balancing method; choose one")
        self._balance = balance

    def _least_conn(self, directive: Directive) -> None:
        self._choose("least_conn")

    def _hash(self, directive: Directive) -> None:
        key, *how = directive.args
        if how not in ([], ["consistent"]):
            raise ValueError(f'invalid parameter "{how[0]}"; only "consistent" may follow the key')
        compile_key(key)
        self._hashing = {"hash_key": key}
        self._choose("consistent_hash" if how else "hash")

    def _random(self, directive: Directive) -> None:
        if directive.args not in ((), ("two",), ("two", "least_conn")):
            raise ValueError(
                f'invalid parameter "{directive.args[-1]}"; write random, random two or random two least_conn'
            )
        self._choose("random_two" if directive.args else "random")


def _server_address(text: str) -> Address:
    if text.startswith("unix:"):
        raise ValueError("unix sockets are not supported; give a TCP address")
    return parse_address(text)


def _server_parameter(text: str) -> tuple[str, object]:
    """The field of the model and its value; ``ngx_stream_upstream_server`` is the source."""
    name, equals, value = text.partition("=")
    if name in _NOT_SUPPORTED:
        raise ValueError(f"{name}: {_NOT_SUPPORTED[name]}")
    if not equals and name in ("backup", "down"):
        return name, True
    if equals and name in ("weight", "max_fails", "max_conns"):
        return name, _parameter_count(text, value, 1 if name == "weight" else 0)
    if equals and name == "fail_timeout":
        return name, parse_time(value, whole_seconds=True)
    raise ValueError(f'invalid parameter "{text}"')


def _parameter_count(text: str, value: str, least: int) -> int:
    try:
        count = parse_count(value)
    except ValueError:
        count = -1
    if count < least:
        raise ValueError(f'invalid parameter "{text}"; write a number from {least} up')
    return count
