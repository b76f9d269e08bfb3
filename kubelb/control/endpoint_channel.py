"""Connections of the health endpoints: what comes on them and goes, how long each may keep us waiting, and which of
too many goes.

For the ``admin`` thread in control, but for :class:`_Task`, which runs where requests are answered. Each channel owns
its connection's descriptor, waitress closes it. The limits in time are those of nginx (src/http/ngx_http_request.c);
as in nginx's ``ngx_drain_connections`` (src/core/ngx_connection.c) whoever waits longest makes room for who comes
when there are too many, so that a crowd of silent clients keeps nobody from being answered.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import WSGITask
from waitress.utilities import RequestHeaderFieldsTooLarge, build_http_date

from kubelb.config.http_head import Head, parse_head
from kubelb.config.model.http import HttpServer
from kubelb.config.values import Duration
from kubelb.config.variables import Client
from kubelb.control.endpoint import Request

REQUEST: Final = "kubelb.request"
"""In the environment of a request: the :class:`Request`."""
LAST: Final = "kubelb.last"
"""To call with whether the connection ends with the answer, and with how long it is kept else, if that is to say."""
_numbers: Final = itertools.count(1)


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress finds where a request ends, and judges its body; its head is read as nginx does."""

    head = Head(b"", 0)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.begun = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        head = self.head = parse_head(header_plus)
        if head.fault:
            raise ParsingError("refused")
        version = b"1.1" if head.version > (1, 0) else b"1.0"
        super().parse_header(b"GET / HTTP/" + version + header_plus[len(head.line) :])

    def judged(self) -> Head:
        """The head, or of it what counts where the request is refused."""
        if self.error is None or self.head.fault:
            return self.head
        if isinstance(self.error, RequestHeaderFieldsTooLarge):
            return Head(b"", 0, fault=400)
        return msgspec.structs.replace(self.head, fault=self.error.code)


class _Task(WSGITask):  # type: ignore[misc]
    """Answers, in nginx's form, a request that waitress has taken and one that it has not."""

    is_last = True
    logged_write_no_body = True
    """304 has the length of a body that it does not have, and that is no news."""

    def get_environment(self) -> dict[str, Any]:
        channel, request, now = self.channel, self.request, time.monotonic()
        channel.answered += 1
        self.head = request.judged()
        # waitress has been shown another line, and sends no body to HEAD.
        request.command = self.head.method.decode()
        asked = Request(
            head=self.head,
            client=channel.client(),
            at=datetime.now().astimezone(),
            number=channel.answered,
            identity=os.urandom(16),
            seconds=now - request.begun,
            connected=now - channel.connected_at,
        )
        return {"REQUEST_METHOD": request.command, REQUEST: asked, LAST: self._set_last}

    def _set_last(self, is_last: bool, wait: Duration | None) -> None:
        self.is_last = is_last
        if wait is not None:
            self.channel.keepalive_timeout = wait

    def build_response_header(self) -> bytes:
        """``ngx_http_header_filter``: one of HTTP/0.9 has none."""
        if self.is_last:
            self.close_on_finish = True
        if not self.head.fault and self.head.version < (1, 0):
            return b""
        status = int(self.status[:3])
        headers = [
            ("Server", self.channel.server.adj.ident),
            ("Date", build_http_date(self.start_time)),
            *((name, value) for name, value in self.response_headers if status != 204 or name != "Content-Length"),
            ("Connection", "close" if self.is_last else "keep-alive"),
        ]
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in headers)]
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


class EndpointChannel(HTTPChannel):  # type: ignore[misc]
    task_class = error_task_class = _Task
    parser_class = _Parser
    settings: HttpServer
    """Of a class for each address (:func:`channel_class`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.answered = 0
        self.number = next(_numbers)
        self.keepalive_timeout = self.settings.keepalive_timeout
        self.connected_at = self._begun = self._moved = time.monotonic()
        super().__init__(*arguments, **options)

    def client(self) -> Client:
        local = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return Client(number=self.number, remote=("unix:", 0), local=(f"unix:{local}", 0))
        return Client(number=self.number, remote=self.addr[:2], local=local[:2])

    def received(self, data: bytes) -> bool:
        before = self.request
        self._moved = time.monotonic()
        taken: bool = super().received(data)
        if self.answered and self.request is not before:
            self._begun = self._moved
        return taken

    def _flush_some(self, do_close: bool = True) -> bool:
        sent: bool = super()._flush_some(do_close=do_close)
        if sent:
            self._moved = time.monotonic()
        return sent

    def waits(self) -> tuple[float, float]:
        """Since when it has been at what it is at, on :func:`time.monotonic`, and until when it may be: for ever
        where that is not for the client to say."""
        settings = self.settings
        if self.total_outbufs_len:
            return self._moved, self._moved + settings.send_timeout
        if self.requests:
            return self._begun, math.inf
        if self.request is None and self.answered:
            return self._moved, self._moved + self.keepalive_timeout
        if self.request is not None and self.request.headers_finished:
            return self._begun, self._moved + settings.body_timeout
        return self._begun, self._begun + settings.header_timeout


def channel_class(settings: HttpServer) -> type[EndpointChannel]:
    """Of the connections to one address."""
    return type("Channel", (EndpointChannel,), {"settings": settings})


def close_overdue(channels: Iterable[EndpointChannel], most: int) -> float:
    """Close those whose time is up, then of more than ``most`` those that wait longest.

    Gives when the next one's time is up, on :func:`time.monotonic`.
    """
    now = time.monotonic()
    waiting = sorted((*channel.waits(), number, channel) for number, channel in enumerate(channels))
    surplus = len(waiting) - most
    next_end = math.inf
    for _, until, _, channel in waiting:
        if until <= now or surplus > 0:
            channel.handle_close()
            surplus -= 1
        else:
            next_end = min(next_end, until)
    return next_end
