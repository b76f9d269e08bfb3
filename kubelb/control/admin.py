"""The HTTP the control process speaks: state and commands on admin.sock; over TCP the configured health endpoints
and the admin side that is only for looking (:mod:`kubelb.control.web`).

Runs in control. One thread, ``admin``, polls all sockets; each listening socket has one more thread on which its
requests are answered, and admin.sock as many as there are requests, so a busy endpoint never keeps an operator from
it. :class:`Admin` owns the sockets and connections, and closes them once the ``admin`` thread has ended. The
supervisor holds the listening sockets too, so they outlive this process and clients wait in their queues until the
next one.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec
from waitress import wasyncore
from waitress.server import create_server

from kubelb import log
from kubelb.config.faults import ConfigFault, printable
from kubelb.config.misfits import UNDECODABLE, misfit_of
from kubelb.config.model.http import HttpServer
from kubelb.config.model.logs import AccessLog
from kubelb.config.virtual import Virtual
from kubelb.control import web
from kubelb.control.admin_channel import MAX_BODY, MAX_HEAD, AdminChannel, OneAnswerChannel, pass_on_warnings
from kubelb.control.answers import Application, Environ, StartResponse, in_json, plain, respond, use_instead
from kubelb.control.commands import Command, CommandFault, Drain, Reply, Stop, Undrain
from kubelb.control.endpoint import Answer
from kubelb.control.endpoints import Endpoints
from kubelb.control.growing_threads import GrowingThreads
from kubelb.control.sessions import Inquiry, Sessions, inquiry
from kubelb.control.status import Clients, Status
from kubelb.control.timed_channel import close_overdue
from kubelb.reasons import ValueFault

_WEB_CONNECTIONS = 64
"""Of the admin side over TCP, at a time. On each side the one that waits longest makes room for the next."""
_CONNECTIONS = 128
"""Of each address of the health endpoints, which kubelet asks whether we live."""
_ADMIN_CONNECTIONS = 32
"""Of admin.sock."""
_LAST_LINES = 1.0
"""Seconds that the last lines of the access logs may take to be written."""
_SETTINGS = {
    "ident": "kubelb",
    # How many connections there may be, and for how long, is a side's own affair.
    "connection_limit": sys.maxsize,
    "channel_timeout": sys.maxsize,
    "threads": 1,
    "max_request_header_size": MAX_HEAD,
    "max_request_body_size": MAX_BODY,
    "clear_untrusted_proxy_headers": False,
    "log_socket_errors": False,
}
_TURN = 30.0
"""Seconds after which the poll returns even when nothing happens, so that idle connections are closed."""
_COMMANDS: dict[str, type[Command]] = {"/drain": Drain, "/undrain": Undrain}
_PATHS = ("/status", *_COMMANDS, "/reload", "/upgrade", "/stop", "/sessions")


@dataclass(frozen=True)
class Operations:
    """What an operator can have done and told. Called on the admin's threads."""

    status: Callable[[], Status]
    command: Callable[[Command], Reply]
    """Returns once the command is done. Raises :class:`CommandFault` where there is nobody it is for."""
    reload: Callable[[], Sequence[str]]
    """Gives the warnings once it is done. Raises :class:`ConfigFault` where it cannot be."""
    upgrade: Callable[[], int]
    """Gives the new supervisor's pid once it is done. Raises :class:`ConfigFault` where it cannot be."""
    sessions: Callable[[Inquiry], Sessions]
    """May take a second or two. Raises :class:`CommandFault`."""
    stop: Callable[[Stop], None]
    """Only begins that."""


@dataclass(frozen=True)
class _Side:
    """One of waitress' servers, and how many connections it may have."""

    name: str
    server: Any
    most: int

    def close_overdue(self) -> float:
        """When the next connection's time is up, on :func:`time.monotonic`. Before a poll: it brings one more."""
        closed = close_overdue(list(self.server.active_channels.values()), self.most - 1)
        if closed.surplus:
            log.limited().warning("http_connections_full", side=self.name, most=self.most)
        return closed.next_end


class Admin:
    """A context manager: inside it the sockets are served."""

    def __init__(
        self,
        admin: socket.socket,
        http: Sequence[tuple[socket.socket, Virtual]],
        operations: Operations,
        clients: Callable[[], Clients],
        side: tuple[socket.socket, web.Views] | None = None,
    ) -> None:
        """The sockets listen already, and are this object's from now on. ``clients`` is called on its threads.

        ``side`` is the admin side over TCP, where that is wanted.
        """
        self._map: dict[int, Any] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admin")
        pass_on_warnings()
        threads = GrowingThreads(_ADMIN_CONNECTIONS)
        self._admin = self._server(admin, _admin_application(operations), threads)
        self._admin.channel_class = AdminChannel
        self._endpoints = Endpoints(clients)
        self._sides = [_Side("admin.sock", self._admin, _ADMIN_CONNECTIONS)]
        for sock, virtual in http:
            server = self._server(sock, self._endpoints.application(virtual))
            self._endpoints.take(server, virtual)
            self._sides.append(_Side(str(virtual.address), server, _CONNECTIONS))
        if side is not None:
            server = self._server(side[0], _web_application(side[1]))
            server.channel_class = OneAnswerChannel
            self._sides.append(_Side("admin", server, _WEB_CONNECTIONS))

    def __enter__(self) -> Admin:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._admin.pull_trigger()
        self._thread.join()
        # Only now: the thread may have seen the flag first, and pulling a closed trigger writes to a stranger's file.
        for side in self._sides:
            side.server.task_dispatcher.shutdown()
        self.write_out()
        wasyncore.close_all(self._map)

    def see(self, http: Sequence[HttpServer], logs: Sequence[AccessLog]) -> None:
        """Where requests are logged from now on: as :meth:`kubelb.control.endpoints.Endpoints.see`."""
        self._endpoints.see(http, logs)

    def reopen(self) -> None:
        """From any thread: open the files of the access logs anew."""
        self._endpoints.log.reopen()

    def write_out(self) -> None:
        """At the end: the last lines of the access logs."""
        self._endpoints.log.close(_LAST_LINES)

    def accept_no_more(self) -> None:
        """From any thread: whoever else has the sockets does. Who has been accepted gets an answer."""
        for side in self._sides:
            side.server.accepting = False
        self._admin.pull_trigger()

    @property
    def busy(self) -> bool:
        """Whether somebody is about to ask, waits for an answer, or has not fetched it. From any thread."""
        channels = [channel for side in self._sides for channel in list(side.server.active_channels.values())]
        return any(
            channel.requests
            or channel.request
            or channel.total_outbufs_len
            or channel.last_activity == channel.creation_time
            for channel in channels
        )

    def _server(self, sock: socket.socket, application: Application, threads: GrowingThreads | None = None) -> Any:
        return create_server(application, map=self._map, sockets=[sock], _dispatcher=threads, **_SETTINGS)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                next_end = min(side.close_overdue() for side in self._sides)
                timeout = max(0.0, min(_TURN, next_end - time.monotonic()))
                # poll() and not select(), which cannot take a descriptor above 1023.
                wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)
        except Exception:
            log.get().exception("internal_error")
            # Without this thread the process answers nobody; the supervisor starts another.
            os._exit(1)


def _admin_application(operations: Operations) -> Application:
    def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/status":
            answer = in_json(operations.status()) if method in ("GET", "HEAD") else use_instead("GET, HEAD")
        elif path == "/sessions":
            answer = _list(environ["QUERY_STRING"], operations.sessions) if method == "GET" else use_instead("GET")
        elif path in _COMMANDS:
            answer = (
                _obey(_COMMANDS[path], _body(environ), operations.command)
                if method == "POST"
                else use_instead("POST")
            )
        elif path == "/reload":
            answer = _reload(operations.reload) if method == "POST" else use_instead("POST")
        elif path == "/upgrade":
            answer = _upgrade(operations.upgrade) if method == "POST" else use_instead("POST")
        elif path == "/stop":
            answer = _stop(_body(environ), operations.stop) if method == "POST" else use_instead("POST")
        else:
            answer = plain("404 Not Found", f"there is only {', '.join(_PATHS)}")
        return respond(answer, environ, start_response)

    return application


def _web_application(views: web.Views) -> Application:
    def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
        host = environ.get("HTTP_HOST", "")
        answer = web.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], host, here, views)
        return respond(answer, environ, start_response)

    here = os.uname().nodename

    return application


def _obey(kind: type[Command], body: bytes, command: Callable[[Command], Reply]) -> Answer:
    try:
        wanted = msgspec.json.decode(body, type=kind)
    except UNDECODABLE:
        return plain("400 Bad Request", f'{_json_fault(body, kind)}; send JSON: {{"server": "host:port"}}')
    try:
        return in_json(command(wanted))
    except CommandFault as fault:
        return plain("404 Not Found", str(fault))


def _upgrade(upgrade: Callable[[], int]) -> Answer:
    """The new supervisor's pid, or with status 422 a line for each reason why there is none."""
    try:
        return plain("200 OK", str(upgrade()))
    except ConfigFault as fault:
        return plain("422 Unprocessable Content", str(fault))


def _list(query: str, sessions: Callable[[Inquiry], Sessions]) -> Answer:
    try:
        asked = inquiry(query)
    except ValueFault as fault:
        return plain("400 Bad Request", f"{fault}; ask for ?server=host:port&pool=name, or less")
    try:
        return in_json(sessions(asked))
    except CommandFault as fault:
        return plain("404 Not Found", str(fault))


def _reload(reload: Callable[[], Sequence[str]]) -> Answer:
    """A line for each warning, or with status 422 (RFC 9110, 15.5.21) for each fault."""
    try:
        return plain("200 OK", "\n".join(reload()))
    except ConfigFault as fault:
        return plain("422 Unprocessable Content", str(fault))


def _stop(body: bytes, stop: Callable[[Stop], None]) -> Answer:
    """Begun, with status 202 (RFC 9110, 15.3.3); whoever waits for the end sees the socket go."""
    try:
        wanted = msgspec.json.decode(body or b"{}", type=Stop)
    except UNDECODABLE:
        return plain("400 Bad Request", f'{_json_fault(body, Stop)}; send nothing, or JSON: {{"gracefully": true}}')
    stop(wanted)
    return plain("202 Accepted", "stopping")


def _json_fault(body: bytes, kind: type[msgspec.Struct]) -> str:
    return printable(misfit_of(body, msgspec.json.decode, kind, "JSON"))


def _body(environ: Environ) -> bytes:
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body
