"""The health endpoints behind waitress: which server answers a request, and what ``stub_status`` counts.

Runs in control, on the ``admin`` thread and on those that answer. waitress' servers and channels own the descriptors.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kubelb.config.http_head import Head
from kubelb.config.http_variables import Given
from kubelb.config.model.http import HttpServer
from kubelb.config.model.logs import AccessLog
from kubelb.config.values import Address
from kubelb.config.variables import Worker
from kubelb.config.virtual import Virtual
from kubelb.control import endpoint
from kubelb.control.answers import Application, Environ, StartResponse, respond
from kubelb.control.endpoint import Answer, Figures, Request
from kubelb.control.endpoint_channel import REQUEST, SETTLE, EndpointChannel, channel_class
from kubelb.control.requestlog import RequestLog
from kubelb.control.status import Clients


class Endpoints:
    def __init__(self, clients: Callable[[], Clients]) -> None:
        """``clients`` is called on the threads that answer."""
        self._clients = clients
        self._here = Worker(os.uname().nodename, os.getpid())
        self._servers: list[Any] = []
        self._virtuals: dict[Address, Virtual] = {}
        self.log = RequestLog(self._here)
        self._accepted = 0
        self._numbers = itertools.count(1)

    def take(self, server: Any, virtual: Virtual) -> None:
        """Have a server of waitress' accept connections to the endpoints of an address."""
        channel = channel_class(virtual.default)

        def accept(*arguments: Any, **options: Any) -> EndpointChannel:
            self._accepted += 1
            return channel(*arguments, **options)

        server.channel_class = accept
        self._servers.append(server)

    def see(self, http: Sequence[HttpServer], logs: Sequence[AccessLog]) -> None:
        """A reload may change where requests are logged; ``logs`` as in :meth:`RequestLog.see`."""
        self.log.see(http, logs)
        listened = {address for server in http for address in server.listen}
        self._virtuals |= {address: Virtual(http, address) for address in listened & self._virtuals.keys()}

    def application(self, virtual: Virtual) -> Application:
        self._virtuals[virtual.address] = virtual

        def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
            figures = self._figures(next(self._numbers))
            request: Request = environ[REQUEST]
            server = _server(self._virtuals[virtual.address], request.head)
            answer = endpoint.answer(server, request, figures, self._here)
            environ[SETTLE](answer, partial(self._over, answer, server, figures) if answer.access_logs else None)
            if answer.is_silent:
                # waitress closes a connection whose application raises an OSError.
                raise ConnectionAbortedError
            return respond(answer, environ, start_response)

        return application

    def _over(self, answer: Answer, server: HttpServer, figures: Figures, request: Request, given: Given) -> None:
        self.log.record(answer.access_logs, endpoint.asked(server, request, figures, int(answer.status[:3]), given))

    def _channels(self) -> list[EndpointChannel]:
        return [channel for server in self._servers for channel in list(server.active_channels.values())]

    def _figures(self, requests: int) -> Figures:
        channels = self._channels()
        writing = sum(bool(channel.requests) for channel in channels)
        reading = sum(not channel.requests and channel.request is not None for channel in channels)
        clients = self._clients()
        return Figures(
            active=clients.active + len(channels),
            accepts=clients.accepted + self._accepted,
            requests=requests,
            reading=reading,
            writing=writing,
            waiting=len(channels) - reading - writing,
        )


def _server(virtual: Virtual, head: Head) -> HttpServer:
    """Who cannot say for whom a request is, gets an answer from the one that answers for unknown names."""
    known = head.host or head.headers or not head.fault
    return virtual.server(head.host) if known else virtual.default
