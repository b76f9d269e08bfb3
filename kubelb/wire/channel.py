"""One end of a socket pair: between the supervisor and a child, a supervisor and its successor, or two relay threads.

SOCK_SEQPACKET keeps message borders, so one receive is one message. Descriptors travel with it (SCM_RIGHTS, unix(7)).
A large message would not fit into the socket's buffer (net.core.wmem_max), or fill it: it travels in a memfd instead,
which is sealed, so that what is read is what was looked at (fcntl(2), F_ADD_SEALS). Each end takes one set of
messages; whoever has the other end may send what it likes, and costs this process neither memory nor time.
Each process owns its own end and closes it; the end of the other side closing is how one learns that it is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import termios
import time
from array import array
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from kubelb.own_limits import EXHAUSTED
from kubelb.reasons import reason, reason_of
from kubelb.wire.message_sets import M, Message, MessageFault, MessageSet, encode

N = TypeVar("N")

_LARGEST = 64 << 10
"""Bytes of a message that travels by itself; a snapshot of a full table is about 40 KiB."""
_IN_FILE = b"\xc0"
"""Stands for a message that is in the first of the descriptors; the nil of MessagePack, which is none itself."""
_BUFFER = 1 << 20
"""Bytes that a socket is to hold; the kernel may give fewer."""
_PAUSE = 0.005
"""Seconds until the kernel is asked again for a message that it had no memory for."""
_PATIENCE = 5.0
"""Seconds for which :meth:`Channel.send_at_last` tries."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class MessageLost(Exception):
    """A message has come that this process had no descriptor left for."""


class Channel(Generic[M]):
    """Sends and receives whole messages. Not for several threads at once in the same direction."""

    def __init__(self, sock: socket.socket, takes: MessageSet[M]) -> None:
        """``sock`` is this object's from now on; ``takes`` is what may be received."""
        self._sock = sock
        self._takes = takes
        expected = takes.descriptors + bool(takes.largest)
        self._room = socket.CMSG_LEN(expected * array("i").itemsize) if expected else 0

    @staticmethod
    def pair(ours: MessageSet[M], theirs: MessageSet[N]) -> tuple[Channel[M], Channel[N]]:
        """The supervisor's end, which never waits, and a child's, which may; each with what it takes."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.setblocking(False)
        for sock in (here, there):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        return Channel(here, ours), Channel(there, theirs)

    @staticmethod
    def of(fd: int, takes: MessageSet[M]) -> Channel[M]:
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
        return Channel(sock, takes)

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Whether the other end took it: it may be gone, or (for the supervisor) so far behind that it is stuck.

        ``fds``, :data:`~kubelb.wire.messages.AT_MOST` of them, are given in copy. Raises :class:`OSError` where this
        process is short of memory or descriptors; nothing has been sent then.
        """
        return self._send(message, fds, 0)

    def send_at_last(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """As :meth:`send`, for a process that has nothing else to do: a shortage is waited out for a few seconds."""
        give_up_at = time.monotonic() + _PATIENCE
        while True:
            try:
                return self.send(message, fds)
            except OSError as error:
                if error.errno not in EXHAUSTED or time.monotonic() >= give_up_at:
                    raise
            time.sleep(_PAUSE)

    def offer(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """As :meth:`send`, but never waits: a message that finds no room, or no memory, is lost. From any thread."""
        try:
            return self._send(message, fds, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            return False

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

    def receive(self) -> M | None:
        """The next message, from one who sends no descriptors; None when the other end is gone.

        Raises :class:`~kubelb.wire.message_sets.MessageFault`, also for descriptors, :class:`MessageLost` and
        :class:`BlockingIOError`.
        """
        message, fds = self.receive_with_fds()
        if fds:
            close_all(fds)
            raise MessageFault("descriptors came with it")
        return message

    def receive_with_fds(self) -> tuple[M | None, list[int]]:
        """The next message and the descriptors that came with it, which are the caller's.

        There are fewer of them than were sent where this process may have no more. Raises
        :class:`~kubelb.wire.message_sets.MessageFault`, :class:`MessageLost` where the message was in one that
        has not come therefore, and :class:`BlockingIOError` where there is none yet, or the kernel has no memory for
        it: it stays where it is, and can be received later.
        """
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(_LARGEST, self._room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # It has gone without having read everything, which is said once, before what it has sent.
            return self.receive_with_fds()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            # Whoever polls is told at once that it is still there.
            time.sleep(_PAUSE)
            raise BlockingIOError(errno.EAGAIN, reason(errno.EAGAIN)) from None
        fds = _descriptors(ancillary)
        try:
            self._check(data, flags)
            if not data:
                return None, fds
            return self._takes.decode(self._from_file(fds) if data == _IN_FILE else data), fds
        except Exception:
            close_all(fds)
            raise

    def _check(self, data: bytes, flags: int) -> None:
        """Whether it came whole. Raises :class:`~kubelb.wire.message_sets.MessageFault`."""
        if flags & socket.MSG_TRUNC:
            raise MessageFault("too long")
        if flags & socket.MSG_CTRUNC and not (self._takes.descriptors or _is_out_of_descriptors()):
            raise MessageFault("more descriptors came with it than may come")
        if not data and not self.is_closed_there():
            raise MessageFault("empty")

    def _from_file(self, fds: list[int]) -> bytes:
        """What is in the first of them, which is taken out and closed."""
        if not fds:
            is_ours = self._takes.largest and _is_out_of_descriptors()
            raise MessageLost("out of file descriptors") if is_ours else MessageFault("no file")
        file = fds.pop(0)
        try:
            return _read(file, self._takes)
        except OSError as error:
            raise MessageLost(reason_of(error)) from None
        finally:
            os.close(file)

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


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    found = array("i")
    for _, _, payload in ancillary:
        found.frombytes(payload[: len(payload) // found.itemsize * found.itemsize])
    return list(found)


def _is_out_of_descriptors() -> bool:
    """Whether this process can have none more; it is told so by nobody when some are cut off."""
    try:
        os.close(os.eventfd(0, os.EFD_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _to_file(data: bytes) -> int:
    fd = os.memfd_create("kubelb-message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def _read(file: int, takes: MessageSet[M]) -> bytes:
    """What is in a file of memory: nobody can make it wait, or larger than it was found.

    Raises :class:`~kubelb.wire.message_sets.MessageFault` for any other, and :class:`OSError`.
    """
    try:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
        raise MessageFault("in a file that is none of memory") from None
    if takes.sealed and seals & _SEALS != _SEALS:
        raise MessageFault("in a file that can be changed")
    size = os.fstat(file).st_size
    if size > takes.largest:
        raise MessageFault("too long")
    return os.pread(file, size, 0)


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
