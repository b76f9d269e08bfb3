"""Sends a client a text in place of a server's answer: nginx's ``return`` (src/stream/ngx_stream_return_module.c).

Runs on the client's relay thread. The socket stays its caller's, who has it back when all is over.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from socket import SocketType

from kubelb.relay.thread import RelayThread
from kubelb.worker.abandon import abandoned_by_faults

_PATIENCE = 5.0
"""Seconds that a client may take none of it."""


class Answer:
    """A text on its way; ``wheel_key`` is the relay thread's."""

    __slots__ = ("_client", "_done", "_failed", "_sent", "_text", "_thread", "_watched", "wheel_key")

    def __init__(
        self,
        client: SocketType,
        text: bytes,
        thread: RelayThread,
        done: Callable[[int, int], None],
        failed: Callable[[], None],
    ) -> None:
        """``done`` is told once, at the end, how many bytes were sent, and nginx's status; or ``failed`` is told that
        a limit or a fault of our own has struck."""
        self._client = client
        self._text = text
        self._thread = thread
        self._done = done
        self._failed = failed
        self._sent = 0
        self._watched = False
        self.wheel_key = 0

    @abandoned_by_faults
    def begin(self) -> None:
        if not self._send():
            self._watched = True
            self._thread.watch(self._client.fileno(), select.EPOLLOUT, self._go_on)
            self._thread.set_deadline(self, _PATIENCE)

    @abandoned_by_faults
    def _go_on(self, mask: int) -> None:
        if not self._send():
            self._thread.set_deadline(self, _PATIENCE)

    @abandoned_by_faults
    def expired(self) -> None:
        """As the relay thread's deadline."""
        self._end(200)

    def _send(self) -> bool:
        """Whether that was all there is to do."""
        try:
            while self._sent < len(self._text):
                self._sent += self._client.send(self._text[self._sent :])
        except BlockingIOError:
            return False
        except OSError:
            self._end(500)
        else:
            self._end(200)
        return True

    def abandon(self) -> None:
        """As :class:`~kubelb.worker.abandon.Stage`."""
        self._stop()
        self._failed()

    def _end(self, status: int) -> None:
        self._stop()
        self._done(self._sent, status)

    def _stop(self) -> None:
        if self._watched:
            self._watched = False
            self._thread.unwatch(self._client.fileno())
            self._thread.drop_deadline(self)
