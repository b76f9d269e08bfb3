"""Connections of the health endpoints: what comes on them, and goes.

For the ``admin`` thread in control, but for :class:`_Task`, which runs where requests are answered. Each channel owns
its connection's descriptor, waitress closes it.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from waitress.parser import ParsingError
from waitress.task import WSGITask
from waitress.utilities import RequestHeaderFieldsTooLarge, build_http_date

from kubelb.config.http_head import Head, head_end, parse_head, too_large, with_crlf
from kubelb.config.http_variables import Given
from kubelb.config.model.http import HttpServer
from kubelb.config.variables import Client
from kubelb.control.endpoint import Answer, Request
from kubelb.control.timed_channel import Parser, Patience, TimedChannel

REQUEST: Final = "kubelb.request"
"""In the environment of a request: the :class:`Request`."""
SETTLE: Final = "kubelb.settle"
"""To call with the :class:`Answer`, and with what is then to be called once it is given: with the request as it is
at that time, and with what has gone out."""
_numbers: Final = itertools.count(1)
_OF_THE_BODY: Final = (b"content_length", b"transfer_encoding", b"expect")


class _Parser(Parser):
    """waitress judges the body, and finds where it ends; the head is read as nginx does."""

    head = Head(b"", 0)
    header_plus = b""
    expect_continue = False
    is_pipelined = False

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.begun = time.monotonic()

    def received(self, data: bytes) -> int:
        if self.headers_finished:
            return int(super().received(data))
        seen = self.header_plus
        begun = seen + data
        if end := head_end(begun):
            self.header_plus = b""
            super().received(with_crlf(begun[:end]))
        else:
            super().received(data)
        if isinstance(self.error, RequestHeaderFieldsTooLarge):
            self.head = too_large(begun)
        # There is nothing to wait for any more, and waitress waits for a body that it has had told to come.
        self.expect_continue = self.expect_continue and not self.completed
        return (end or len(begun)) - len(seen)

    def parse_header(self, header_plus: bytes) -> None:
        head = self.head = parse_head(header_plus)
        if head.fault:
            raise ParsingError("refused")
        version = b"1.1" if head.version > (1, 0) else b"1.0"
        lines = [name.replace(b"_", b"-") + b": " + value for name, value in head.headers if name in _OF_THE_BODY]
        super().parse_header(b"\r\n".join((b"GET / HTTP/" + version, *lines, b"", b"")))

    def judged(self) -> Head:
        """The head, or of it what counts where the request is refused."""
        if self.error is None or self.head.fault:
            return self.head
        return msgspec.structs.replace(self.head, fault=self.error.code)


class _Task(WSGITask):  # type: ignore[misc]
    """Answers, in nginx's form, a request that waitress has taken and one that it has not."""

    is_last = True
    logged_write_no_body = True
    """304 has the length of a body that it does not have, and that is no news."""
    over: Callable[[Request, Given], None] | None = None
    head_length = 0
    is_complete = False

    def service(self) -> None:
        try:
            super().service()
        finally:
            if self.over is not None:
                self.over(self._request(), self._given())

    def finish(self) -> None:
        super().finish()
        self.is_complete = True

    def _given(self) -> Given:
        if not self.wrote_header:
            return Given(0, 0, (), is_complete=False)
        body = self.content_bytes_written if self.has_body else 0
        headers = [*self.response_headers, ("Connection", self._connection)]
        told = ((name.lower().replace("-", "_").encode(), value.encode("latin-1")) for name, value in headers)
        return Given(self.head_length, body, tuple(told), self.is_complete)

    def get_environment(self) -> dict[str, Any]:
        self.channel.answered += 1
        self.head = self.request.judged()
        self.client, self.identity = self.channel.client(), os.urandom(16)
        # waitress has been shown another line, and sends no body to HEAD.
        self.request.command = self.head.method.decode()
        return {"REQUEST_METHOD": self.request.command, REQUEST: self._request(), SETTLE: self._settle}

    def _request(self) -> Request:
        """As it is now."""
        channel, now = self.channel, time.monotonic()
        return Request(
            head=self.head,
            client=self.client,
            at=datetime.now().astimezone(),
            number=channel.answered,
            identity=self.identity,
            seconds=now - self.request.begun,
            connected=now - channel.connected_at,
            is_pipelined=self.request.is_pipelined,
        )

    def _settle(self, answer: Answer, over: Callable[[Request, Given], None] | None) -> None:
        self.is_last, self.over = answer.is_last, over
        if answer.wait is not None:
            self.channel.patience = self.channel.patience._replace(keepalive=answer.wait)

    @property
    def _connection(self) -> str:
        return "close" if self.is_last else "keep-alive"

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
            ("Connection", self._connection),
        ]
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in headers)]
        made = "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")
        self.head_length = len(made)
        return made


class EndpointChannel(TimedChannel):
    task_class = error_task_class = _Task
    settings: HttpServer
    """Of a class for each address (:func:`channel_class`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        settings = self.settings
        self.number = next(_numbers)
        self.patience = Patience(
            settings.header_timeout, settings.body_timeout, settings.send_timeout, settings.keepalive_timeout
        )
        super().__init__(*arguments, **options)

    def parser_class(self, settings: Any) -> _Parser:
        parser = _Parser(settings)
        parser.is_pipelined = bool(self.requests)
        return parser

    def client(self) -> Client:
        local = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return Client(number=self.number, remote=("unix:", 0), local=(f"unix:{local}", 0))
        return Client(number=self.number, remote=self.addr[:2], local=local[:2])


def channel_class(settings: HttpServer) -> type[EndpointChannel]:
    """Of the connections to one address."""
    return type("Channel", (EndpointChannel,), {"settings": settings})
