"""Socket options of the data plane, in one place."""

from __future__ import annotations

import socket
import struct

from kubelb.snapshot import SocketAddress

_LINGER_RESET = struct.pack("ii", 1, 0)


def connection(address: SocketAddress) -> socket.socket:
    """An unconnected, non-blocking TCP socket of the address's family that does not hold small writes back."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock: socket.socket) -> None:
    """Close with a reset, never with an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    sock.close()
