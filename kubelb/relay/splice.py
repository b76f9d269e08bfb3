"""The zero-copy conduit: a pipe between two sockets, splice(2) on both sides of it.

The pages of the received segments move into the pipe and on into the other socket; the bytes are never copied
to user space. A step's write asks for exactly what was read, so nothing is corked by a SPLICE_F_MORE left set.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from os import splice
from typing import Final

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
REFUSALS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM})
"""The errnos by which a kernel or a sandbox says that it will not splice these sockets at all."""
_WASTE: Final = memoryview(bytearray(64 << 10))
"""What is thrown away is read into this; nobody reads it."""


class SplicePipe:
    """A :class:`~kubelb.relay.conduit.Conduit`. Owns both ends of its pipe."""

    __slots__ = ("_read", "_write", "held", "size")
    foreign = False

    def __init__(self, room: int, size: int) -> None:
        """A pipe of ``room`` bytes, or what limits and memory allow (fs.pipe-max-size, fs.pipe-user-pages-soft)."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        try:
            self.size = min(size, _widen(self._write, room))
        except OSError:
            self.close()
            raise

    def step(self, src: int, dst: int) -> int:
        count = splice(src, self._write, self.size, None, None, _FLAGS)
        if count:
            try:
                moved = splice(self._read, dst, count, None, None, _FLAGS)
            except BlockingIOError:
                self.held = count
            except OSError:
                self.held = count
                raise
            else:
                if moved != count:
                    self.held = count - moved
        return count

    def drain(self, dst: int) -> None:
        try:
            while self.held:
                self.held -= splice(self._read, dst, self.held, None, None, _FLAGS)
        except BlockingIOError:
            pass

    def salvage(self) -> bytes:
        data = os.read(self._read, self.held) if self.held else b""
        self.held = 0
        return data

    def discard(self) -> None:
        with suppress(BlockingIOError):
            while os.readv(self._read, [_WASTE]):
                pass
        self.held = 0

    def lend(self) -> list[int]:
        read = os.dup(self._read)
        try:
            return [read, os.dup(self._write)]
        except OSError:
            os.close(read)
            raise

    def close(self) -> None:
        for fd in (self._read, self._write):
            with suppress(OSError):  # It is closed all the same: close(2).
                os.close(fd)


class ForeignPipe(SplicePipe):
    """The pipe of another process, which holds bytes."""

    __slots__ = ()
    foreign = True

    def __init__(self, read: int, write: int, held: int) -> None:
        """Its ends are this object's from now on."""
        self._read, self._write, self.held = read, write, held
        try:
            self.size = fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)
        except OSError:
            self.close()
            raise


def _widen(pipe: int, room: int) -> int:
    """Bytes that the pipe has room for now. One that cannot be widened stays as it was made: fcntl(2)."""
    try:
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, room)
    except OSError:
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
