"""A client that does not read what its server has sent: some of it waits in the kernel, on the proxy's side."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios

from kubelb.relay.session import Session
from tests.support.eventually import eventually

_TO_SPARE = 4
"""Pieces that are sent once the client's side takes no more: it may find some room yet."""


def backlogged(session: Session, server: socket.socket, piece: int) -> int:
    """Have the server send until some bytes wait to be read by the proxy: so many, and none is under way any more.

    They are sent by the ``piece``, of which the kernel has to have room for a few.
    """
    sent, data, waiting = 0, bytes(piece), 0
    while waiting < _TO_SPARE:
        sent += _sent(server, data)
        waiting = 0 if session.down.held is None else waiting + 1
    return sent


def _sent(sock: socket.socket, data: bytes) -> int:
    sock.sendall(data)
    eventually(lambda: not _under_way(sock), "it has arrived")
    return len(data)


def _under_way(sock: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
