"""One end of a socket pair: between the supervisor and a child, a supervisor and its successor, or two relay threads.

SOCK_SEQPACKET keeps message borders, so one receive is one message. Descriptors travel with it (SCM_RIGHTS, unix(7)).
Each process owns its own end and closes it; the end of the other side closing is how one learns that it is gone.
"""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections.abc import Iterable, Sequence

from kubelb.wire.messages import Message, decode, encode

_LARGEST = 1 << 20
"""Bytes; a snapshot of a full table is about 40 KiB."""
AT_MOST = 128
"""Descriptors that travel with one message (the kernel's limit is SCM_MAX_FD, 253)."""
_ROOM = socket.CMSG_SPACE(AT_MOST * array("i").itemsize)


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

    @classmethod
    def of(cls, fd: int) -> Channel:
        """The end that is this descriptor, which is its own from now on.

        Raises :class:`OSError` where it is none, and leaves it alone then.
        """
        sock = socket.socket(fileno=fd)
        try:
            if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))
            sock.getpeername()
        except OSError:
            sock.detach()
            raise
        return cls(sock)

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Whether the other end took it: it may be gone, or (for the supervisor) so far behind that it is stuck.

        ``fds``, :data:`AT_MOST` of them, are given in copy.
        """
        return self._send(message, fds, 0)

    def offer(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """As :meth:`send`, but never waits: a message that finds no room is lost. From any thread."""
        return self._send(message, fds, socket.MSG_DONTWAIT)

    def _send(self, message: Message, fds: Sequence[int], flags: int) -> bool:
        try:
            if fds:
                self._sock.sendmsg(
                    [encode(message)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))], flags
                )
            else:
                self._sock.sendall(encode(message), flags)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            return False
        return True

    def receive(self) -> Message | None:
        """The next message, from one who sends no descriptors; None when the other end is gone."""
        message, fds = self.receive_with_fds()
        close_all(fds)
        return message

    def receive_with_fds(self) -> tuple[Message | None, list[int]]:
        """The next message and the descriptors that came with it, which are the caller's.

        There are fewer of them than were sent where this process may have no more.
        """
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_LARGEST, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # It has gone without having read everything, which is said once, before what it has sent.
            return self.receive_with_fds()
        fds = array("i")
        for _, _, payload in ancillary:
            fds.frombytes(payload[: len(payload) // fds.itemsize * fds.itemsize])
        try:
            return (decode(data) if data else None), list(fds)
        except Exception:
            close_all(fds)
            raise

    def settimeout(self, seconds: float | None) -> None:
        """How long a receive and a send may wait; they raise :class:`TimeoutError` then."""
        self._sock.settimeout(seconds)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
