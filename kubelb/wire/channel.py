"""One end of a socket pair: between the supervisor and a child, a supervisor and its successor, or two relay threads.

SOCK_SEQPACKET keeps message borders, so one receive is one message. Descriptors travel with it (SCM_RIGHTS, unix(7)).
A large message would not fit into the socket's buffer (net.core.wmem_max), or fill it: it travels in a memfd instead.
Each process owns its own end and closes it; the end of the other side closing is how one learns that it is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import termios
from array import array
from collections.abc import Iterable, Sequence

from kubelb.reasons import reason
from kubelb.wire.messages import Message, decode, encode

_LARGEST = 64 << 10
"""Bytes of a message that travels by itself; a snapshot of a full table is about 40 KiB."""
_IN_FILE = b"\xc0"
"""Stands for a message that is in the first of the descriptors; the nil of MessagePack, which is none itself."""
_BUFFER = 1 << 20
"""Bytes that a socket is to hold; the kernel may give fewer."""
AT_MOST = 128
"""Descriptors that travel with one message (the kernel's limit is SCM_MAX_FD, 253)."""
_ROOM = socket.CMSG_SPACE((1 + AT_MOST) * array("i").itemsize)


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
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        return cls(ours), cls(theirs)

    @classmethod
    def of(cls, fd: int) -> Channel:
        """The end that is this descriptor, which is its own from now on.

        Raises :class:`OSError` where it is none, and leaves it alone then.
        """
        sock = socket.socket(fileno=fd)
        try:
            if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                raise OSError(errno.EPROTOTYPE, reason(errno.EPROTOTYPE))
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
        data = encode(message)
        if len(data) <= _LARGEST:
            return self._send_all(data, fds, flags)
        file = _to_file(data)
        try:
            return self._send_all(_IN_FILE, (file, *fds), flags)
        finally:
            os.close(file)

    def _send_all(self, data: bytes, fds: Sequence[int], flags: int) -> bool:
        try:
            if fds:
                self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))], flags)
            else:
                self._sock.sendall(data, flags)
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

        There are fewer of them than were sent where this process may have no more. Raises
        :class:`~kubelb.wire.messages.MessageFault` for what is no message, also for one whose file has not come
        therefore.
        """
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_LARGEST, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # It has gone without having read everything, which is said once, before what it has sent.
            return self.receive_with_fds()
        found = array("i")
        for _, _, payload in ancillary:
            found.frombytes(payload[: len(payload) // found.itemsize * found.itemsize])
        fds = list(found)
        try:
            if data == _IN_FILE and fds:
                data = _from_file(fds.pop(0))
            return (decode(data) if data else None), fds
        except Exception:
            close_all(fds)
            raise

    def has_room(self) -> bool:
        """Whether most of what may be on its way there is free."""
        unread = array("i", [0])
        fcntl.ioctl(self._sock, termios.TIOCOUTQ, unread)
        return unread[0] < self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4

    def is_closed_there(self) -> bool:
        """Whether nobody has the other end any more."""
        poll = select.poll()
        poll.register(self._sock, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def settimeout(self, seconds: float | None) -> None:
        """How long a receive and a send may wait; they raise :class:`TimeoutError` then."""
        self._sock.settimeout(seconds)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def _to_file(data: bytes) -> int:
    fd = os.memfd_create("kubelb-message")
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


def _from_file(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
