"""How many clients there are of each kind, over all relay threads, in the shared memory of the counters.

A kind is a 64-bit fingerprint. Each row has a table of cells that only its own thread writes: a fingerprint, and how
many of these the thread holds; none makes the cell free. Where in the table a kind may be is told by its fingerprint:
in one set of a few cells, as in a processor's cache. So nobody waits for anybody: a thread adds first, then sums up
that set over all rows, and steps back if that is too many; two who come at the same moment may both step back.
"""

from __future__ import annotations

# As hashlib has it, which would load OpenSSL beside it: 2 MB.
from _blake2 import blake2b

from kubelb.stats import CELLS, Table

_WAYS = 8
"""Cells of a set."""
_SET = 2 * _WAYS
"""Words of a set."""
_SETS = CELLS // _WAYS
_ROW = 2 * CELLS


class Crowds:
    """For the thread that writes the row ``index`` only."""

    def __init__(self, table: Table, index: int) -> None:
        self._table = table
        self._words = table.cells
        self._first = index * _ROW
        self._secret = table.secret

    def kind(self, name: bytes) -> int:
        """The fingerprint of all who share that name."""
        return int.from_bytes(blake2b(name, digest_size=8, key=self._secret).digest(), "big")

    def enter(self, kind: int, most: int) -> bool:
        """One more, if there are not more than ``most`` then, and a cell for it."""
        if not self.add(kind):
            return False
        if self.count(kind) > most:
            self.leave(kind)
            return False
        return True

    def add(self, kind: int) -> bool:
        """One more, however many there are; whether there was a cell for it."""
        words, free = self._words, -1
        for cell in self._cells(self._first, kind):
            if not words[cell + 1]:
                free = cell
            elif words[cell] == kind:
                words[cell + 1] += 1
                return True
        if free < 0:
            return False
        words[free] = kind
        words[free + 1] = 1
        return True

    def leave(self, kind: int) -> None:
        """One less; nothing if it was not counted here."""
        words = self._words
        for cell in self._cells(self._first, kind):
            if words[cell] == kind and words[cell + 1]:
                words[cell + 1] -= 1
                return

    def count(self, kind: int) -> int:
        """Over all rows."""
        return sum(self._in_row(row * _ROW, kind) for row in range(self._table.rows))

    def _in_row(self, first: int, kind: int) -> int:
        words = self._words
        for cell in self._cells(first, kind):
            if words[cell] == kind and (count := words[cell + 1]) and words[cell] == kind:
                # Its writer has not made it another's meanwhile.
                return count
        return 0

    def _cells(self, first: int, kind: int) -> range:
        at = first + kind % _SETS * _SET
        return range(at, at + _SET, 2)
