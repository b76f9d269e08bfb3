"""How long a connection of an HTTP side may keep us waiting, and which of too many goes.

For the ``admin`` thread in control. waitress counts the connections of all its servers together and stops accepting
when there are too many; here each side has a limit of its own, and the connection that has waited longest makes room
for the next, as in nginx's ``ngx_drain_connections`` (src/core/ngx_connection.c): a crowd of silent clients keeps
nobody from being answered. The limits in time are those of nginx (src/http/ngx_http_request.c).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser

from kubelb.own_limits import EXHAUSTED

_PAUSE: Final = 0.005
"""Seconds until the kernel is asked again for an answer that it had no memory for."""


class Patience(NamedTuple):
    """Seconds that a client may take: to send a head, between two pieces of a body, between two that it fetches of an
    answer, and from one request to the next."""

    header: float
    body: float
    send: float
    keepalive: float


PATIENCE: Final = Patience(header=5.0, body=10.0, send=10.0, keepalive=75.0)
"""The admin side's: those who use it are programs, and near."""


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress reports the path of a request that it could not answer, also where none has been read."""

    path = ""


class TimedChannel(HTTPChannel):  # type: ignore[misc]
    patience = PATIENCE

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.answered = 0
        """Requests so far."""
        self.connected_at = self._begun = self._moved = time.monotonic()
        super().__init__(*arguments, **options)

    def parser_class(self, settings: Any) -> Parser:
        """waitress makes one for each request."""
        return Parser(settings)

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

    def send(self, data: bytes, do_close: bool = True) -> int:
        """A shortage of the kernel's memory passes: what is left of an answer is sent then."""
        try:
            return int(super().send(data, do_close=do_close))
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            # Whoever polls is told at once that there is room.
            time.sleep(_PAUSE)
            return 0

    @property
    def is_being_answered(self) -> bool:
        return bool(self.requests) and not self.total_outbufs_len

    def waits(self) -> tuple[float, float]:
        """Since when it has been at what it is at, on :func:`time.monotonic`, and until when it may be: for ever
        where that is not for the client to say."""
        if self.total_outbufs_len:
            return self._moved, self._moved + self.patience.send
        if self.requests:
            return self._begun, math.inf
        if self.request is None and self.answered:
            return self._moved, self._moved + self.patience.keepalive
        if self.request is not None and self.request.headers_finished:
            return self._begun, self._moved + self.patience.body
        return self._begun, self._begun + self.patience.header


class Closed(NamedTuple):
    next_end: float
    """When the next one's time is up, on :func:`time.monotonic`; infinite: never."""
    surplus: int
    """How many had to make room."""


def close_overdue(channels: Iterable[TimedChannel], most: int) -> Closed:
    """Close those whose time is up, then of more than ``most`` those that wait longest; those that we keep waiting
    for their answer come last, and the newest after them: it has had no time to ask."""
    now = time.monotonic()
    found = list(channels)
    newest = max((channel.connected_at for channel in found), default=now)
    ranked = sorted(
        (channel.connected_at == newest, channel.is_being_answered, *channel.waits(), number, channel)
        for number, channel in enumerate(found)
    )
    waiting = [(until, channel) for *_, until, _, channel in ranked]
    overdue = sum(until <= now for until, _ in waiting)
    surplus = left = max(0, len(waiting) - overdue - most)
    next_end = math.inf
    for until, channel in waiting:
        if until <= now:
            channel.handle_close()
        elif left:
            channel.handle_close()
            left -= 1
        else:
            next_end = min(next_end, until)
    return Closed(next_end, surplus)
