"""The sockets of the data plane and their options, in one place.

They are plain :class:`socket.SocketType`, the C type underneath :class:`socket.socket`: making the Python class, with
its look-ups of enums, takes as long as the system calls of a connection's set-up.
"""

from __future__ import annotations

import socket
from socket import SocketType

from kubelb.relay.session import reset_on_close
from kubelb.snapshot import SocketAddress

_FAMILIES = {False: int(socket.AF_INET), True: int(socket.AF_INET6)}
_STREAM = int(socket.SOCK_STREAM)
_NONBLOCKING_STREAM = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
_TCP, _NODELAY = socket.IPPROTO_TCP, socket.TCP_NODELAY


def accept(listening: socket.socket) -> tuple[SocketType, SocketAddress]:
    """The next client of a non-blocking listening socket, non-blocking too, and its address.

    Raises :class:`BlockingIOError` when there is none, :class:`OSError` when descriptors have run out.
    """
    # What socket.accept() itself is made of, without the Python class it puts around the result.
    descriptor, address = listening._accept()  # type: ignore[attr-defined]
    client = SocketType(_FAMILIES[len(address) > 2], _STREAM, _TCP, descriptor)
    client.setblocking(False)
    return client, address[:2]


def connection(address: SocketAddress) -> SocketType:
    """An unconnected, non-blocking TCP socket of the address's family that does not hold small writes back."""
    sock = SocketType(_FAMILIES[":" in address[0]], _NONBLOCKING_STREAM, _TCP)
    sock.setsockopt(_TCP, _NODELAY, 1)
    return sock


def reset(sock: SocketType) -> None:
    """Close with a reset, never with an orderly end."""
    reset_on_close(sock)
    sock.close()
