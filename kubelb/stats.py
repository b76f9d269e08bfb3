"""The shared counters: one table in a memfd, one row a relay thread, one column group a server.

The supervisor creates the table before any fork, so every process maps the same memory and it outlives each
of them, the supervisor too: the one that succeeds it attaches to the same memory. A row has exactly one writer, the
thread that owns it; readers sum over rows. No lock is needed: a counter is one aligned 64-bit word, stored at once.
Slot 0 of a row counts for the row as a whole (all clients, whatever their server); servers have slots from 1
(:attr:`kubelb.snapshot.Server.slot`).
"""

from __future__ import annotations

import fcntl
import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from kubelb.reasons import ValueFault

ROWS = 198
"""Of two supervisors at the same time, and in between: each has at most 64 relay threads, control, and itself."""
SLOTS = 256
_WORDS = 72
_STRIDE = SLOTS * _WORDS
_IN_USE = ROWS * _STRIDE
"""The word behind the rows: how many of them are looked at."""
_LAYOUT = _IN_USE + 1
_SECRET = _LAYOUT + 1
_THIS_LAYOUT = 2
"""To be raised when the words change their meaning: another kubelb may have made the table."""
CELLS = 1 << 15
"""Of each row, behind all of them; of two words each. What they are for: :mod:`kubelb.crowds`."""
_CELLS_AT = -(-(_SECRET + 1) * 8 // mmap.PAGESIZE) * mmap.PAGESIZE
_CELLS_BYTES = CELLS * 2 * 8
_BYTES = _CELLS_AT + ROWS * _CELLS_BYTES

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""Who touches memory that has been cut off dies of SIGBUS, the supervisor too."""
_NOTHING = memoryview(array("Q", [0] * _WORDS))


class Histogram(NamedTuple):
    """The words of a slot that tell how long something took."""

    first: int
    """The word of the sum, in microseconds: nanoseconds of many long sessions would not fit. The counts follow it."""
    bounds: tuple[float, ...]
    """Seconds. What took no longer than the first has the first count, and so on; the last count is for the rest."""

    @property
    def counts(self) -> range:
        return range(self.first + 1, self.first + 2 + len(self.bounds))


_ANSWERS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5)


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
    """For whatever reason; in slot 0: of all servers."""
    CLOSED = 5
    """Sessions that both sides had ended."""
    FAILS = 6
    """Failed dials of the current streak (see :mod:`kubelb.balance.passive`)."""
    FAILED_AT = 7
    TRIED_AT = 8
    PASSED_AT = 9
    PID = 10
    """In slot 0 of a relay thread's row: its process."""
    WORKER = 11
    """In slot 0 of a relay thread's row: the number of its worker, from 1."""
    CLIENT_RESETS = 12
    """Sessions that the client broke off."""
    SERVER_RESETS = 13
    IDLED = 14
    """Sessions that ended because nothing moved for too long."""
    CUTS = 15
    """Sessions that were reset because their server was to have none any more."""
    REBALANCED = 16
    """Sessions that were ended for the sake of an even share."""
    SESSION_SECONDS = Histogram(17, (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0))
    """How long sessions had lived when they ended."""
    DIAL_SECONDS = Histogram(25, _ANSWERS)
    """How long servers took to accept."""
    REFUSED = 35
    """Dials that failed like this; so are the next four."""
    UNANSWERED = 36
    UNREACHABLE = 37
    RESET = 38
    OTHERWISE = 39
    PROBES_PASSED = 40
    PROBES_UNREADY = 41
    """Answered, with a status that is not an expected one."""
    PROBES_FAILED = 42
    PROBE_SECONDS = Histogram(43, _ANSWERS)
    TURNED_AWAY = 53
    """Like the rest in slot 0 only: clients for whom no server was left."""
    SPLICING = 54
    """1 in the row of a relay thread that moves bytes by splice(2)."""
    COPYING = 55
    """1 in the row of a relay thread that copies them."""
    ALONE = 56
    """Sessions that have a thread of their own now."""
    RELOADS = 57
    RELOADS_FAILED = 58
    RELOADED_AT = 59
    WORKER_DEATHS = 60
    """Workers that ended although nobody wanted it."""
    CONTROL_DEATHS = 61
    DENIED = 62
    """Clients that may not come in."""
    NO_HEADER = 63
    """Clients that did not begin with a PROXY header, in time."""
    CROWDED_OUT = 64
    """Clients for whom there was no room: ``max_connections``."""
    LIMITED = 65
    """Clients of whom there were too many: ``limit``."""
    BEAT = 68
    """In slot 0: when the row's thread last said that it does its work."""
    INTERNAL = 67
    """Sessions, and in slot 0 clients without one, that ended by a limit or a fault of our own."""
    HEARD_AT = 69
    """When bytes last came from the server to any session; how exactly: :mod:`kubelb.worker.stalls`."""
    ACKED_AT = 70
    """When the kernel last had a packet from the server, on any session that was looked at."""
    SNAPSHOT = 66
    """In the row of a relay thread that accepts clients: the version of the snapshot it goes by."""


_LIVE = (Count.PID, Count.WORKER, Count.SPLICING, Count.COPYING, Count.ALONE, Count.SNAPSHOT, Count.BEAT)
"""In slot 0: what is true of a living writer only, like its live sessions."""


class Row:
    """The one writer's view of a row."""

    def __init__(self, words: memoryview, index: int) -> None:
        self.index = index
        """Its place in the table."""
        self._words = words[index * _STRIDE : (index + 1) * _STRIDE]

    def add(self, slot: int, count: int, n: int = 1) -> None:
        """``n`` may be below zero, which a count never is: what is given back twice is not counted."""
        words, at = self._words, slot * _WORDS + count
        value = words[at] + n
        words[at] = value if value > 0 else 0

    def put(self, slot: int, count: int, value: int) -> None:
        self._words[slot * _WORDS + count] = value

    def get(self, slot: int, count: int) -> int:
        return self._words[slot * _WORDS + count]

    def observe(self, slot: int, histogram: Histogram, seconds: float) -> None:
        """It took so long."""
        words, (first, bounds) = self._words, histogram
        first += slot * _WORDS
        words[first] += int(seconds * 1e6)
        words[first + 1 + bisect_left(bounds, seconds)] += 1

    def came(self) -> int:
        """A client; how many that makes, ever."""
        words = self._words
        words[Count.ACTIVE] += 1
        words[Count.OPENED] = opened = words[Count.OPENED] + 1
        return opened

    def opened(self, slot: int, seconds: float) -> None:
        """A server has accepted a connection, after so long."""
        self._words[slot * _WORDS + Count.OPENED] += 1
        self.observe(slot, Count.DIAL_SECONDS, seconds)

    def ended(self, slot: int, how: int, seconds: float) -> None:
        """A session, after so long; ``how`` is the word for such an end."""
        self.add(slot, Count.ACTIVE, -1)
        words, first = self._words, slot * _WORDS
        words[first + how] += 1
        self.observe(slot, Count.SESSION_SECONDS, seconds)

    def moved(self, slot: int, up: int, down: int) -> None:
        """So many bytes."""
        words, first = self._words, slot * _WORDS
        if up:
            words[first + Count.BYTES_UP] += up
        if down:
            words[first + Count.BYTES_DOWN] += down

    def forget(self, slot: int) -> None:
        """The slot is another server's from now on."""
        self._words[slot * _WORDS : (slot + 1) * _WORDS] = _NOTHING

    def forget_live(self) -> None:
        """Zero what a dead writer can no longer take back: its live sessions, and that it lives."""
        for slot in range(SLOTS):
            self._words[slot * _WORDS + Count.ACTIVE] = 0
        for word in _LIVE:
            self.put(0, word, 0)

    def release(self) -> None:
        self._words.release()


class OtherLayout(Exception):
    """The table is that of a kubelb that counts in another way, or does not keep anybody from cutting it off."""


class Table:
    """All rows. Make it once in the supervisor; children inherit it by fork."""

    def __init__(self, rows: int) -> None:
        """``rows`` of at most :data:`ROWS` are used at first; the memory is taken only when written."""
        if not 1 <= rows <= ROWS:
            raise ValueFault(f"{rows} rows; 1 to {ROWS} can be counted")
        fd = os.memfd_create("kubelb-counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, _BYTES)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        self._map_in(fd)
        self._words[_IN_USE], self._words[_LAYOUT] = rows, _THIS_LAYOUT
        self._words[_SECRET] = int.from_bytes(os.urandom(8), "big")

    @classmethod
    def attach(cls, fd: int) -> Table:
        """The table of the supervisor before. ``fd`` is this object's from now on, unless it raises
        :class:`OtherLayout`."""
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS or os.fstat(fd).st_size != _BYTES:
            raise OtherLayout
        table = cls.__new__(cls)
        table._map_in(fd)
        if table._words[_LAYOUT] != _THIS_LAYOUT:
            table._unmap()
            raise OtherLayout
        return table

    def _map_in(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _BYTES)
        self._words = memoryview(self._map).cast("Q")
        self.cells = self._words[_CELLS_AT // 8 :]
        """The words of all rows' cells, row by row."""

    @property
    def rows(self) -> int:
        """How many are looked at, from the first."""
        # Whoever has the table can write there, and is not believed that there are more than there can be, or none.
        return min(self._words[_IN_USE], ROWS) or 1

    def look_at(self, rows: int) -> None:
        """At so many, by all processes, if that is more than now."""
        if not 1 <= rows <= ROWS:
            raise ValueFault(f"{rows} rows; 1 to {ROWS} can be counted")
        self._words[_IN_USE] = max(rows, self.rows)

    @property
    def secret(self) -> bytes:
        """Of all who use this table, and of nobody else."""
        return self._words[_SECRET].to_bytes(8, "big")

    def row(self, index: int) -> Row:
        return Row(self._words, index)

    def forget_live(self, index: int) -> None:
        """What a dead writer can no longer take back in its row, nor in its cells."""
        row = self.row(index)
        row.forget_live()
        row.release()
        self._map.madvise(mmap.MADV_REMOVE, _CELLS_AT + index * _CELLS_BYTES, _CELLS_BYTES)

    def forget(self, slots: Iterable[int]) -> None:
        """They are other servers' from now on, in all rows. While nobody writes there."""
        for index in range(self.rows):
            row = self.row(index)
            for slot in slots:
                row.forget(slot)
            row.release()

    def total(self, slot: int, count: int) -> int:
        """The sum over all rows."""
        first = slot * _WORDS + count
        return sum(self._words[first : first + self.rows * _STRIDE : _STRIDE])

    def latest(self, slot: int, count: int) -> int:
        """The greatest over all rows: of a time, when it last happened."""
        first = slot * _WORDS + count
        return max(self._words[first : first + self.rows * _STRIDE : _STRIDE])

    def each(self, slot: int, count: int) -> list[int]:
        """The value of every row, in order. Between two calls the supervisor may have added rows."""
        first = slot * _WORDS + count
        return list(self._words[first : first + self.rows * _STRIDE : _STRIDE])

    def is_held(self, slot: int, since: int) -> bool:
        """Whether somebody may still count in the slot for a server that has left it.

        There are sessions, or a relay thread that accepts clients goes by a snapshot from before ``since``: the first
        version without that server.
        """
        return bool(self.total(slot, Count.ACTIVE)) or any(0 < seen < since for seen in self.each(0, Count.SNAPSHOT))

    def close(self) -> None:
        self._unmap()
        os.close(self.fd)

    def _unmap(self) -> None:
        self.cells.release()
        self._words.release()
        self._map.close()
