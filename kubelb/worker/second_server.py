"""A connection to a second server, which is told what the first one was told, and is waited for until it answers.

Runs on a relay thread between its polls, and owns the connection until that is taken out or closed.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from socket import SocketType
from typing import Final

from kubelb.config.variables import Client
from kubelb.relay.session import close, reset_on_close
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import SocketAddress, target
from kubelb.worker.client_hello import HANDSHAKE
from kubelb.worker.manner import Manner
from kubelb.worker.sockets import connection

_ANSWER: Final = bytes([HANDSHAKE])


class SecondServer:
    """One of them."""

    def __init__(
        self, thread: RelayThread, words: bytes, spoke: Callable[[], None], failed: Callable[[int], None]
    ) -> None:
        """``words`` is what it is told. One of the two is called, once: ``spoke`` when it begins a TLS handshake,
        ``failed`` when it does anything else, or does not accept; then with the errno, else with 0."""
        self.begun = thread.now
        self.accepted_in: float | None = None
        """Seconds; None: it has not."""
        self._thread = thread
        self._words = words
        self._spoke = spoke
        self._failed = failed
        self._sock: SocketType | None = None

    def dial(self, address: SocketAddress, who: Client, manner: Manner | None) -> None:
        """Once. Raises :class:`OSError` and :class:`~kubelb.worker.manner.CannotBind`."""
        sock = connection(address)
        try:
            if manner is not None:
                manner.receive(sock)
                manner.bind(sock, who)
            code = sock.connect_ex(target(address))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, "")
            self._thread.watch(sock.fileno(), select.EPOLLOUT, self._answered)
        except BaseException:
            close(sock)
            raise
        self._sock = sock

    def _answered(self, mask: int) -> None:
        """It has accepted, or has not."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code or not self._tell(self.sock):
            self._failed(code)

    def _tell(self, sock: SocketType) -> bool:
        """Whether it is told everything, and will be heard."""
        self.accepted_in = self._thread.now - self.begun
        try:
            if sock.send(self._words) < len(self._words):
                return False
            self._thread.unwatch(sock.fileno())
            self._thread.watch(sock.fileno(), select.EPOLLIN, self._heard)
        except (OSError, MemoryError):
            # It is broken already, or something of ours is used up: either way it is not waited for.
            return False
        return True

    def _heard(self, mask: int) -> None:
        try:
            said = self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except (OSError, MemoryError):
            said = b""
        if said == _ANSWER:
            self._spoke()
        else:
            self._failed(0)

    @property
    def sock(self) -> SocketType:
        """The connection, while there is one."""
        assert self._sock is not None
        return self._sock

    def take(self) -> SocketType:
        """The connection, which is the caller's from now on."""
        sock, self._sock = self.sock, None
        self._thread.unwatch(sock.fileno())
        return sock

    def close(self) -> None:
        """Have it know by a reset that it need not answer. Nothing, where there is no connection any more."""
        if self._sock is not None:
            sock = self.take()
            reset_on_close(sock)
            # Only after this poll's events: one of them may be the socket's, and a new one would get its descriptor.
            self._thread.post(lambda: close(sock))
