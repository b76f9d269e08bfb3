"""The copying conduit, for where splice(2) is refused: one buffer in user space, read into and written from."""

from __future__ import annotations

import os


class CopyBuffer:
    """A :class:`~kubelb.relay.conduit.Conduit`. Owns no descriptor."""

    __slots__ = ("_buffer", "_first", "held", "size")
    foreign = False

    def __init__(self, size: int, data: bytes = b"") -> None:
        """``size`` bytes of room; ``data`` is held from the start."""
        self.size = max(size, len(data))
        self._buffer = memoryview(bytearray(self.size))
        self._buffer[: len(data)] = data
        self._first = 0
        self.held = len(data)

    def step(self, src: int, dst: int) -> int:
        count = os.readv(src, [self._buffer])
        if count:
            self._first, self.held = 0, count
            self._write(dst)
        return count

    def drain(self, dst: int) -> None:
        while self.held and self._write(dst):
            pass

    def _write(self, dst: int) -> int:
        try:
            count = os.write(dst, self._buffer[self._first : self._first + self.held])
        except BlockingIOError:
            return 0
        self._first += count
        self.held -= count
        return count

    def salvage(self) -> bytes:
        data = bytes(self._buffer[self._first : self._first + self.held])
        self.held = 0
        return data

    def discard(self) -> None:
        self.held = 0

    def lend(self) -> list[int]:
        with os.fdopen(os.memfd_create("kubelb-held"), "wb", buffering=0) as file:
            file.write(self._buffer[self._first : self._first + self.held])
            return [os.dup(file.fileno())]

    def close(self) -> None:
        self._buffer.release()
