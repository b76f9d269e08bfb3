"""Connections of the health endpoints: how long each may keep us waiting, and which of too many goes.

For the ``admin`` thread in control, but for :class:`_Task`, which runs where requests are answered. Each channel owns
its connection's descriptor, waitress closes it. The limits in time are those of nginx (src/http/ngx_http_request.c);
as in nginx's ``ngx_drain_connections`` (src/core/ngx_connection.c) whoever waits longest makes room for who comes
when there are too many, so that a crowd of silent clients keeps nobody from being answered.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from typing import Any, Final

from waitress.channel import HTTPChannel
from waitress.task import WSGITask

from kubelb.config.model import HttpServer
from kubelb.config.virtual import host_name

_TARGET: Final = re.compile(r"(?:[A-Za-z]+://[^/]|/)[^\0-\x20\x7f]*\Z")
NAME: Final = "kubelb.name"
"""In the environment of a request: the name that it asks for, "" where it need not; None: it is a bad request."""
LOCAL: Final = "kubelb.local"
"""The address that it came to."""
END: Final = "kubelb.end"
"""To call if the connection ends with the answer."""


class _Task(WSGITask):  # type: ignore[misc]
    def start(self) -> None:
        self.channel.answered += 1
        environ = self.get_environment()
        environ[NAME] = _asked_name(self.request)
        environ[LOCAL] = _local(self.channel)
        environ[END] = self._end
        if self.channel.is_last():
            self._end()
        super().start()

    def _end(self) -> None:
        self.request.headers["CONNECTION"] = "close"


def _local(channel: EndpointChannel) -> str:
    host = str(channel.socket.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def _asked_name(request: Any) -> str | None:
    if not _TARGET.match(request.request_uri) or "\0" in request.path:
        return None
    text = request.proxy_netloc or request.headers.get("HOST")
    if text is None:
        return None if request.version == "1.1" else ""
    try:
        return host_name(text)
    except ValueError:
        return None


class EndpointChannel(HTTPChannel):  # type: ignore[misc]
    task_class = _Task
    settings: HttpServer
    """Of a class for each address (:func:`channel_class`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.answered = 0
        self._begun = self._moved = time.monotonic()
        super().__init__(*arguments, **options)

    def is_last(self) -> bool:
        """Whether the connection ends with the answer that is under way."""
        return not self.settings.keepalive_timeout or self.answered >= self.settings.keepalive_requests

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
            return self._moved, self._moved + settings.keepalive_timeout
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
