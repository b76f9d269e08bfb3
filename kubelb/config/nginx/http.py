"""nginx's ``http {}`` into health endpoints: ``return`` and ``stub_status``; pure.

What is accepted, and what an inner block inherits, is as in nginx's src/http: ngx_http_core_module.c, and in its
folder modules the access, headers, log, rewrite and stub_status modules.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from kubelb.config.access import parse_access
from kubelb.config.faults import Key
from kubelb.config.http_variables import compile_http
from kubelb.config.log_format import OF_REQUESTS
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.model.logs import AccessLog
from kubelb.config.nginx.logs import AccessLogs, Formats
from kubelb.config.nginx.syntax import Directive, Handler, Notes, parse_count, parse_listen, parse_time, walk
from kubelb.config.rules.http import check_header
from kubelb.config.values import Address
from kubelb.reasons import ValueFault

_PORT: Final = 80
_URLS: Final = ("http://", "https://", "$scheme")
_TIMES: Final = {
    "client_header_timeout": "header_timeout",
    "client_body_timeout": "body_timeout",
    "send_timeout": "send_timeout",
    "keepalive_timeout": "keepalive_timeout",
}
_DEFAULTS: Final = {
    **dict.fromkeys(("header_timeout", "body_timeout", "send_timeout"), parse_time("60s")),
    "keepalive_timeout": parse_time("75s"),
}
_LISTEN_NEUTRAL: Final = ("bind", "ipv6only=on")
_LISTEN_TUNING: Final = ("backlog=", "rcvbuf=", "sndbuf=", "reuseport", "deferred", "fastopen=", "so_keepalive=")
_LISTEN_REFUSED: Final = {
    "ssl": "TLS is passed through, not ended here",
    "proxy_protocol": "the health endpoints read no PROXY protocol",
    "http2": "the health endpoints speak HTTP/1.1 only",
    "ipv6only=off": "an IPv6 socket takes no IPv4 here; write a second listen for IPv4",
}


class Endpoints:
    """All of ``http {}``, in the order of the file."""

    def __init__(self, notes: Notes, prefix: str) -> None:
        """``prefix`` is what relative paths begin at."""
        self.servers: list[HttpServer] = []
        self._notes = notes
        self._prefix = prefix

    def read(self, http: Directive) -> None:
        """``server`` blocks come last: they inherit from the whole block."""
        blocks: list[tuple[Directive, Formats]] = []
        formats = Formats(self._prefix, OF_REQUESTS, combined=True)
        shared = _Shared(self._notes, formats)
        handlers: dict[str, Handler] = {
            "server": lambda block: blocks.append((block, formats.so_far())),
            "log_format": formats.read,
            **shared.handlers,
            **shared.of_connections,
        }
        walk(http.block or (), "http", handlers, self._notes)
        for block, known in blocks:
            self._server(block, known, shared)

    def _server(self, block: Directive, formats: Formats, outer: _Shared) -> None:
        server = _Server(("http", len(self.servers)), self._notes, formats, outer)
        self._notes.places[server.key] = block.place()
        walk(block.block or (), "http server", server.handlers, self._notes)
        self.servers.append(server.server())


class _Shared:
    """What an inner block inherits: lists as long as it has no entry of its own."""

    def __init__(self, notes: Notes, formats: Formats, outer: _Shared | None = None) -> None:
        """``formats`` are those that stand before the block."""
        self._notes = notes
        self.logs = AccessLogs(formats)
        self.content_type: str = outer.content_type if outer else "text/plain"
        self.access: tuple[str, ...] = outer.access if outer else ()
        self.headers: tuple[Header, ...] = outer.headers if outer else ()
        self.connections: dict[str, Any] = dict(outer.connections if outer else _DEFAULTS)
        self.own_connections: dict[str, Any] = {}
        """Of those, what is set in this very block."""
        self.own: dict[str, Directive] = {}
        """By their names, the last of each directive of this very block."""
        self.handlers: dict[str, Handler] = {
            "default_type": self._default_type,
            "add_header": self._add_header,
            "allow": self._rule,
            "deny": self._rule,
            "access_log": self.logs.read,
        }
        self.of_answers: dict[str, Handler] = {"keepalive_timeout": self._time, "keepalive_requests": self._requests}
        """For a location too."""
        self.of_connections: dict[str, Handler] = {**dict.fromkeys(_TIMES, self._time), **self.of_answers}

    def of_location(self, key: Key) -> dict[str, Any]:
        """What differs from the server's. ``key`` is the location's."""
        headers = self.headers if "add_header" in self.own else ()
        access = self.access if "allow" in self.own else ()
        logs = None if self.logs.own is None else self.placed(self.logs.own, key)
        return {"headers": headers, "access": access, "access_logs": logs, **self.own_connections}

    def placed(self, logs: list[tuple[AccessLog, Directive]], key: Key) -> tuple[AccessLog, ...]:
        """Of what has that key."""
        self._notes.places.update({(*key, "access_log", i): one.place() for i, (_, one) in enumerate(logs)})
        return tuple(log for log, _ in logs)

    def _default_type(self, directive: Directive) -> None:
        self.content_type = directive.args[0]

    def _add_header(self, directive: Directive) -> None:
        name, value, *flag = directive.args
        if flag not in ([], ["always"]):
            raise ValueFault(f'invalid parameter "{flag[0]}"')
        header = Header(name=name, value=value, always=bool(flag))
        check_header(header)
        self.headers = (*(self.headers if "add_header" in self.own else ()), header)
        self.own["add_header"] = directive

    def _rule(self, directive: Directive) -> None:
        text = f"{directive.name} {directive.args[0]}"
        parse_access(text, partial(self._notes.warn, directive))
        self.access = (*(self.access if "allow" in self.own else ()), text)
        self.own["allow"] = directive

    def _time(self, directive: Directive) -> None:
        if len(directive.args) > 1:
            raise ValueFault("a Keep-Alive header is not sent; write one time")
        self._set(_TIMES[directive.name], parse_time(directive.args[0]))

    def _requests(self, directive: Directive) -> None:
        self._set("keepalive_requests", parse_count(directive.args[0]))

    def _set(self, name: str, value: object) -> None:
        self.connections[name] = self.own_connections[name] = value


class _Server:
    """One ``server`` block."""

    def __init__(self, key: tuple[str, int], notes: Notes, formats: Formats, outer: _Shared) -> None:
        """``formats`` are those that stand before it."""
        self.key = key
        self._notes = notes
        self._formats = formats
        self._outer = outer
        self._shared = _Shared(notes, formats, outer)
        self._addresses: list[Address] = []
        self._default_on: list[Address] = []
        self._names: list[str] = []
        self._blocks: list[Directive] = []
        self._returned: dict[str, Any] = {}
        self._stub_status: list[Directive] = []
        self.handlers: dict[str, Handler] = {
            "listen": self._listen,
            "server_name": self._server_name,
            "location": self._blocks.append,
            "return": self._return,
            "stub_status": self._stub_status.append,
            **self._shared.handlers,
            **self._shared.of_connections,
        }

    def server(self) -> HttpServer:
        """Once all its directives are known."""
        locations = [self._location(i, block) for i, block in enumerate(self._blocks)]
        if self._stub_status and not any(one and one.path == "/" and not one.exact for one in locations):
            locations.append(Location(path="/", stub_status=True))
        if self._returned:
            # The server's rewrite phase comes before a location is looked for.
            inherited = _Shared(self._notes, self._formats, self._shared)
            locations = [_answering((*self.key, "location", 0), "/", False, self._returned, inherited)]
        logs = self._shared.placed(self._shared.logs.within(self._outer.logs), self.key)
        return HttpServer(
            listen=tuple(self._addresses),
            server_names=tuple(self._names),
            default_on=tuple(self._default_on),
            access=self._shared.access,
            headers=self._shared.headers,
            access_logs=logs,
            locations=tuple(_terse(location, logs) for location in locations if location is not None),
            **self._shared.connections,
        )

    def _listen(self, directive: Directive) -> None:
        text, *parameters = directive.args
        address = parse_listen(text, _PORT)
        for parameter in parameters:
            if parameter in _LISTEN_REFUSED:
                raise ValueFault(f"{parameter}: {_LISTEN_REFUSED[parameter]}")
            if parameter in ("default_server", "default"):
                self._place(directive, "default_on", len(self._default_on))
                self._default_on.append(address)
            elif parameter.startswith(_LISTEN_TUNING):
                why = f"{parameter} has no effect, the sockets of health endpoints are set up by kubelb itself"
                self._notes.warn(directive, why)
            elif parameter not in _LISTEN_NEUTRAL:
                raise ValueFault(f'invalid parameter "{parameter}"')
        self._place(directive, "listen", len(self._addresses))
        self._addresses.append(address)

    def _server_name(self, directive: Directive) -> None:
        for name in directive.args:
            if name.startswith("~"):
                raise ValueFault("regular expressions are not supported; write names, or * and a dot before one")
            if "$" in name:
                raise ValueFault("variables are not supported; write plain text")
            self._place(directive, "server_names", len(self._names))
            self._names.append(name.encode().lower().decode())

    def _place(self, directive: Directive, *path: str | int) -> None:
        """The directive says what is at this path within the server."""
        self._notes.places[self.key + path] = directive.place()

    def _return(self, directive: Directive) -> None:
        self._returned = self._returned or _returned(directive)

    def _location(self, i: int, block: Directive) -> Location | None:
        key = (*self.key, "location", i)
        self._notes.places[key] = block.place()
        try:
            return _location(key, block, self._notes, _Shared(self._notes, self._formats, self._shared))
        except ValueFault as error:
            self._notes.refuse(block, str(error))
            return None


def _location(key: Key, block: Directive, notes: Notes, shared: _Shared) -> Location | None:
    path, exact = _match(block.args)
    returned: dict[str, Any] = {}
    stub_status: list[Directive] = []

    def fixed(directive: Directive) -> None:
        # The first one ends the request.
        returned.update({**_returned(directive), **returned})

    handlers: dict[str, Handler] = {
        "return": fixed,
        "stub_status": stub_status.append,
        **shared.handlers,
        **shared.of_answers,
    }
    faults = len(notes.faults)
    walk(block.block or (), "location", handlers, notes)
    if returned:
        if rule := shared.own.get("allow"):
            notes.warn(rule, "has no effect, as in nginx: return answers before clients are looked at")
        return _answering(key, path, exact, returned, shared)
    if stub_status:
        return Location(path=path, exact=exact, stub_status=True, **shared.of_location(key))
    if len(notes.faults) > faults:
        return None
    raise ValueFault("nothing to answer, and files are not served; write return 200, or stub_status")


def _terse(location: Location, logs: tuple[AccessLog, ...]) -> Location:
    """Without ``access_log off`` where its server has none."""
    return location if logs or location.access_logs else msgspec.structs.replace(location, access_logs=None)


def _answering(key: Key, path: str, exact: bool, answer: dict[str, Any], shared: _Shared) -> Location:
    """In nginx the rewrite phase, which ``return`` ends, comes before those of ``allow`` and ``stub_status``."""
    settings = {**shared.of_location(key), "access": ("allow all",) if shared.access else ()}
    return Location(path=path, exact=exact, content_type=shared.content_type, **settings, **answer)


def _match(args: tuple[str, ...]) -> tuple[str, bool]:
    """The path of a location, and whether it must be the whole of the request's."""
    modifier, path = args if len(args) == 2 else ("", args[0])
    if modifier in ("~", "~*") or path.startswith("~"):
        raise ValueFault("regular expressions are not supported; write a path, or = and a path")
    if modifier not in ("", "=", "^~"):
        raise ValueFault(f'invalid location modifier "{modifier}"')
    if not modifier and path.startswith("="):
        return path[1:], True
    if not modifier and path.startswith("^~"):
        return path[2:], False
    if path.startswith("@"):
        raise ValueFault("named locations are not supported; write a path")
    return path, modifier == "="


def _returned(directive: Directive) -> dict[str, Any]:
    """``return CODE [text]``, ``return CODE URL``, ``return URL``."""
    code, *text = directive.args
    if not text and code.startswith(_URLS):
        code, text = "302", [code]
    if not code.isdecimal() or not code.isascii():
        raise ValueFault(f'invalid return code "{code}"')
    status = parse_count(code)
    if not 200 <= status <= 599:
        raise ValueFault(f"{code} is not a status that can be answered; write one from 200 to 599")
    body = text[0] if text else ""
    compile_http(body)
    return {"status": status, "body": body}
