"""The shared counters: one table in a memfd, one row a relay thread, one column group a server.

The supervisor creates the table before any fork, so every process maps the same memory and it outlives each
of them. A row has exactly one writer, the thread that owns it; readers sum over rows. No lock is needed: a
counter is one aligned 64-bit word, stored at once. Slot 0 of a row counts for the row as a whole (all clients,
whatever their server); servers have slots from 1 (:attr:`kubelb.snapshot.Server.slot`).
"""

from __future__ import annotations

import mmap
import os
from array import array

ROWS = 65
SLOTS = 256
_WORDS = 16
_STRIDE = SLOTS * _WORDS


_NOTHING = memoryview(array("Q", [0] * _WORDS))


class Count:
    """The words of a slot. Times are nanoseconds of the monotonic clock, bytes are bytes.

    Plain numbers, not an enum: every new connection computes with them a dozen times.
    """

    ACTIVE = 0
    """Sessions alive now, from the moment their server was picked."""
    OPENED = 1
    """Sessions begun, ever; in slot 0: clients accepted."""
    BYTES_UP = 2
    """Client to server."""
    BYTES_DOWN = 3
    """Server to client."""
    DIAL_FAILURES = 4
    RESETS = 5
    """Sessions that ended by a reset of either side."""
    FAILS = 6
    """Failed dials of the current streak (see :mod:`kubelb.balance.passive`)."""
    FAILED_AT = 7
    TRIED_AT = 8
    PASSED_AT = 9
    PID = 10
    """In slot 0 of a worker's first row: its process."""


class Row:
    """The one writer's view of a row."""

    def __init__(self, words: memoryview, index: int) -> None:
        self.index = index
        """Its place in the table."""
        self._words = words[index * _STRIDE : (index + 1) * _STRIDE]

    def add(self, slot: int, count: int, n: int = 1) -> None:
        self._words[slot * _WORDS + count] += n

    def put(self, slot: int, count: int, value: int) -> None:
        self._words[slot * _WORDS + count] = value

    def get(self, slot: int, count: int) -> int:
        return self._words[slot * _WORDS + count]

    def forget(self, slot: int) -> None:
        """The slot is another server's from now on."""
        self._words[slot * _WORDS : (slot + 1) * _WORDS] = _NOTHING

    def forget_live(self) -> None:
        """Zero what a dead writer can no longer take back: its live sessions."""
        for slot in range(SLOTS):
            self._words[slot * _WORDS + Count.ACTIVE] = 0

    def release(self) -> None:
        self._words.release()


class Table:
    """All rows. Make it once in the supervisor; children inherit it by fork."""

    def __init__(self, rows: int) -> None:
        """``rows`` of at most :data:`ROWS` are used; the memory is taken only when written."""
        if not 1 <= rows <= ROWS:
            raise ValueError(f"{rows} relay threads; 1 to {ROWS} can be counted")
        self.rows = rows
        self.fd = os.memfd_create("kubelb-counters")
        os.ftruncate(self.fd, ROWS * _STRIDE * 8)
        self._map = mmap.mmap(self.fd, ROWS * _STRIDE * 8)
        self._words = memoryview(self._map).cast("Q")

    def row(self, index: int) -> Row:
        return Row(self._words, index)

    def total(self, slot: int, count: int) -> int:
        """The sum over all rows."""
        first = slot * _WORDS + count
        return sum(self._words[first : first + self.rows * _STRIDE : _STRIDE])

    def latest(self, slot: int, count: int) -> int:
        """The greatest over all rows: of a time, when it last happened."""
        first = slot * _WORDS + count
        return max(self._words[first : first + self.rows * _STRIDE : _STRIDE])

    def each(self, slot: int, count: int) -> list[int]:
        """The value of every row, in order."""
        first = slot * _WORDS + count
        return list(self._words[first : first + self.rows * _STRIDE : _STRIDE])

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self.fd)
