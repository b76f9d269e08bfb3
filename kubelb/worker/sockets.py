"""The sockets of the data plane and their options, in one place.

They are plain :class:`socket.SocketType`, the C type underneath :class:`socket.socket`: making the Python class, with
its look-ups of enums, takes as long as the system calls of a connection's set-up.
"""

from __future__ import annotations

import math
import socket
from socket import SocketType

from kubelb.relay.session import Options, close, reset_on_close
from kubelb.snapshot import Pool, SocketAddress

_FAMILIES = {False: int(socket.AF_INET), True: int(socket.AF_INET6)}
_UNIX = int(socket.AF_UNIX)
_STREAM = int(socket.SOCK_STREAM)
_NONBLOCKING_STREAM = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
_TCP, _NODELAY = socket.IPPROTO_TCP, socket.TCP_NODELAY


def liveness(pool: Pool) -> Options:
    """The options by which TCP notices that a server has vanished; for connections that last.

    After ``keepalive`` seconds of silence TCP asks the server, and without an answer again after each third of that.
    It ends the connection when the silence, or bytes that are not acknowledged, are ``user_timeout`` old. With that
    tcp(7)'s count of questions does not matter: ``tcp_keepalive_timer`` in the kernel's net/ipv4/tcp_timer.c.
    """
    chosen: list[tuple[int, int, int]] = []
    if pool.keepalive:
        chosen += [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (_TCP, socket.TCP_KEEPIDLE, math.ceil(pool.keepalive)),
            (_TCP, socket.TCP_KEEPINTVL, max(1, int(pool.keepalive / 3))),
        ]
    if pool.user_timeout:
        chosen.append((_TCP, socket.TCP_USER_TIMEOUT, math.ceil(pool.user_timeout * 1000)))
    return tuple((int(level), int(option), value) for level, option, value in chosen)


def accept(listening: socket.socket) -> tuple[SocketType, SocketAddress]:
    """The next client of a non-blocking listening socket, non-blocking too, and its address.

    Raises :class:`BlockingIOError` when there is none, :class:`OSError` when descriptors have run out.
    """
    # What socket.accept() itself is made of, without the Python class it puts around the result.
    descriptor, address = listening._accept()  # type: ignore[attr-defined]
    if not isinstance(address, tuple):
        client = SocketType(_UNIX, _STREAM, 0, descriptor)
        client.setblocking(False)
        return client, _unix_address(address)
    client = SocketType(_FAMILIES[len(address) > 2], _STREAM, _TCP, descriptor)
    client.setblocking(False)
    return client, address[:2]


def _unix_address(path: str | bytes) -> SocketAddress:
    """Most clients have no path; nginx shows none of those in the abstract namespace (unix(7)), which are bytes."""
    shown = path.encode(errors="replace").decode() if isinstance(path, str) else ""
    return f"unix:{shown}", 0


def listening_address(sock: socket.socket) -> SocketAddress:
    """What a listening socket is bound to."""
    address = sock.getsockname()
    return address[:2] if isinstance(address, tuple) else _unix_address(address)


def local_address(client: SocketType) -> SocketAddress:
    """Where the client has come; a TCP one."""
    address: SocketAddress = client.getsockname()[:2]
    return address


def connection(address: SocketAddress) -> SocketType:
    """An unconnected, non-blocking socket of the address's family that does not hold small writes back."""
    if not address[1]:
        return SocketType(_UNIX, _NONBLOCKING_STREAM)
    sock = SocketType(_FAMILIES[":" in address[0]], _NONBLOCKING_STREAM, _TCP)
    try:
        sock.setsockopt(_TCP, _NODELAY, 1)
    except OSError:
        close(sock)
        raise
    return sock


def reset(sock: SocketType) -> None:
    """Close with a reset, never with an orderly end."""
    reset_on_close(sock)
    close(sock)
