"""One end of the socket pair between the supervisor and a child.

SOCK_SEQPACKET keeps message borders, so one receive is one message. Each process owns its own end and closes
it; the end of the other side closing is how a child learns that the supervisor is gone.
"""

from __future__ import annotations

import socket

from kubelb.wire.messages import Message, decode, encode

_LARGEST = 1 << 20
"""Bytes; a snapshot of a full table is about 40 KiB."""


class Channel:
    """Sends and receives whole messages. Not for several threads at once in the same direction."""

    def __init__(self, sock: socket.socket) -> None:
        """``sock`` is this object's from now on."""
        self._sock = sock

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """The supervisor's end, which never waits, and a child's, which may."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        return cls(ours), cls(theirs)

    def send(self, message: Message) -> bool:
        """Whether the other end took it: it may be gone, or (for the supervisor) so far behind that it is stuck."""
        return self._send(message, 0)

    def offer(self, message: Message) -> bool:
        """As :meth:`send`, but never waits: a message that finds no room is lost. From any thread."""
        return self._send(message, socket.MSG_DONTWAIT)

    def _send(self, message: Message, flags: int) -> bool:
        try:
            self._sock.sendall(encode(message), flags)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            return False
        return True

    def receive(self) -> Message | None:
        """The next message; None when the other end is gone."""
        try:
            data = self._sock.recv(_LARGEST)
        except ConnectionResetError:
            return None
        return decode(data) if data else None

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()
