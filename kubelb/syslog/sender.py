"""Sends datagrams to a syslog server, and never waits for it.

For any thread of the process that made it, a :class:`Sender` owns its socket, which it makes with the first message
and anew when the server has gone: one that comes back listens on a new socket, of the same name.
"""

from __future__ import annotations

import errno
import socket
import threading

from kubelb.reasons import reason_of

_OTHERS_FAULT = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE)
"""Of a socket that was fine: nobody has the other end any more, or a datagram before came back."""


class Sender:
    """To one address: the path of a unix socket, or a numeric host and a port (UDP)."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def send(self, message: bytes) -> str | None:
        """Why this one, or by UDP one before, is lost; None: not that it were known."""
        with self._lock:
            try:
                return self._send(message)
            except OSError as error:
                self._forget()
                return reason_of(error)

    def close(self) -> None:
        """What is sent afterwards has another socket."""
        with self._lock:
            self._forget()

    def _send(self, message: bytes) -> str | None:
        """Raises :class:`OSError`: the socket is no good."""
        fresh = self._socket is None
        try:
            self._connected().send(message)
        except BlockingIOError:
            return "it does not keep up"
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return reason_of(error)
            if fresh or error.errno not in _OTHERS_FAULT:
                raise
            self._forget()
            self._connected().send(message)
            # The kernel says it of a datagram that had been sent, this one has gone out now.
            return None if isinstance(self._address, str) else reason_of(error)
        return None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = _connect(self._address)
        return self._socket

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connect(address: str | tuple[str, int]) -> socket.socket:
    """A datagram socket of the process's own; nothing of it can wait."""
    made = socket.socket(_family(address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _family(address: str | tuple[str, int]) -> socket.AddressFamily:
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
