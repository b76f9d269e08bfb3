"""The health endpoints behind waitress: which server answers a request, and what ``stub_status`` counts.

Runs in control, on the ``admin`` thread and on those that answer. waitress' servers and channels own the descriptors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from kubelb.config.virtual import Virtual
from kubelb.control import endpoint, endpoint_channel
from kubelb.control.answers import Application, Environ, StartResponse, respond
from kubelb.control.endpoint import Figures, Request
from kubelb.control.endpoint_channel import END, LOCAL, NAME, EndpointChannel, channel_class
from kubelb.control.status import Clients


class Endpoints:
    def __init__(self, clients: Callable[[], Clients]) -> None:
        """``clients`` is called on the threads that answer."""
        self._clients = clients
        self._servers: list[Any] = []
        self._accepted = 0
        self._numbers = itertools.count(1)

    def take(self, server: Any, virtual: Virtual) -> None:
        """Have a server of waitress' accept connections to the endpoints of an address."""
        channel = channel_class(virtual.default)

        def accept(*arguments: Any, **options: Any) -> EndpointChannel:
            self._accepted += 1
            return channel(*arguments, **options)

        server.channel_class = accept
        # A channel knows itself when its time is up.
        server.adj.channel_timeout = math.inf
        self._servers.append(server)

    def application(self, virtual: Virtual) -> Application:
        def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
            figures = self._figures(next(self._numbers))
            name = environ[NAME]
            if name is None:
                answer: endpoint.Answer | None = endpoint.bad_request(virtual.default)
            else:
                answer = endpoint.answer(virtual.server(name), _request(environ, name), figures)
            if answer is None:
                # waitress closes a connection whose application raises an OSError.
                raise ConnectionAbortedError
            if answer.is_last:
                environ[END]()
            return respond(answer, environ, start_response)

        return application

    def close_overdue(self, most: int) -> float:
        """As :func:`kubelb.control.endpoint_channel.close_overdue`. On the ``admin`` thread, between its polls."""
        return endpoint_channel.close_overdue(self._channels(), most)

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


def _request(environ: Environ, name: str) -> Request:
    port = environ["SERVER_PORT"]
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"].encode("latin-1").decode(errors="surrogateescape"),
        client=environ["REMOTE_ADDR"],
        origin=f"http://{name or environ[LOCAL]}" + (f":{port}" if port != "80" else ""),
    )
