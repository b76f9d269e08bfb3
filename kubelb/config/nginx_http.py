"""nginx's ``http {}`` into health endpoints: fixed answers and ``stub_status``; pure."""

from __future__ import annotations

from typing import Any

from kubelb.config.model import HttpServer, Location
from kubelb.config.nginx_syntax import Directive, Handler, Notes, parse_count, take_listen, walk
from kubelb.config.values import Address

_DEFAULT_PORT = 80
_REDIRECTS = ("301", "302", "303", "307", "308")


class Endpoints:
    """All of ``http {}``, in the order of the file."""

    def __init__(self, notes: Notes) -> None:
        self.servers: list[HttpServer] = []
        self._notes = notes
        self._servers: list[Directive] = []

    def read(self, http: Directive) -> None:
        """``server`` blocks come last: they inherit from the whole block."""
        default_type = _Inherited("text/plain")
        handlers: dict[str, Handler] = {"server": self._servers.append, "default_type": default_type.take}
        walk(http.block or (), "http", handlers, self._notes)
        for server in self._servers:
            self._server(server, default_type.value)

    def _server(self, server: Directive, inherited: str) -> None:
        addresses: list[Address] = []
        blocks: list[Directive] = []
        default_type = _Inherited(inherited)
        key = ("http", len(self.servers))
        self._notes.places[key] = server.place()

        def listen(directive: Directive) -> None:
            self._notes.places[(*key, "listen", len(addresses))] = directive.place()
            addresses.append(take_listen(directive, self._notes, _DEFAULT_PORT))

        handlers: dict[str, Handler] = {
            "listen": listen,
            "location": blocks.append,
            "default_type": default_type.take,
        }
        walk(server.block or (), "http server", handlers, self._notes)
        locations = []
        for i, block in enumerate(blocks):
            self._notes.places[(*key, "location", i)] = block.place()
            try:
                locations.append(self._location(block, default_type.value))
            except ValueError as error:
                self._notes.refuse(block, str(error))
        self.servers.append(HttpServer(listen=tuple(addresses), locations=tuple(locations)))

    def _location(self, location: Directive, inherited: str) -> Location:
        path, exact = _match(location.args)
        answer: dict[str, Any] = {}
        default_type = _Inherited(inherited)

        def fixed(directive: Directive) -> None:
            answer.update(_fixed_answer(directive))

        def stub_status(directive: Directive) -> None:
            answer["stub_status"] = True

        handlers: dict[str, Handler] = {
            "return": fixed,
            "stub_status": stub_status,
            "default_type": default_type.take,
        }
        faults = len(self._notes.faults)
        walk(location.block or (), "location", handlers, self._notes)
        if not answer and len(self._notes.faults) == faults:
            raise ValueError("nothing to answer, and files are not served; write return 200, or stub_status")
        if "status" in answer:
            # The rewrite phase comes before the content handler, so in nginx return hides stub_status.
            answer.pop("stub_status", None)
        content_type = Location(path=path).content_type if "stub_status" in answer else default_type.value
        return Location(path=path, exact=exact, content_type=content_type, **answer)


class _Inherited:
    """A value that an inner block may set anew."""

    def __init__(self, value: str) -> None:
        self.value = value

    def take(self, directive: Directive) -> None:
        self.value = directive.args[0]


def _match(args: tuple[str, ...]) -> tuple[str, bool]:
    """The path of a location, and whether it must be the whole of the request's."""
    modifier, path = args if len(args) == 2 else ("", args[0])
    if modifier in ("~", "~*") or path.startswith("~"):
        raise ValueError("regular expressions are not supported; write a path, or = and a path")
    if modifier not in ("", "=", "^~"):
        raise ValueError(f'invalid location modifier "{modifier}"')
    if not modifier and path.startswith("="):
        return path[1:], True
    if path.startswith("@"):
        raise ValueError("named locations are not supported; write a path")
    return path, modifier == "="


def _fixed_answer(directive: Directive) -> dict[str, Any]:
    code, *text = directive.args
    if "://" in code or code in _REDIRECTS:
        raise ValueError("redirects are not supported; write return and a status, with or without a text")
    status = parse_count(code)
    if not 200 <= status <= 599 or status == 444:
        raise ValueError(f"{code} is not a status that can be answered; write one from 200 to 599")
    body = text[0] if text else ""
    if "$" in body:
        raise ValueError("variables are not supported; write plain text")
    return {"status": status, "body": body}
