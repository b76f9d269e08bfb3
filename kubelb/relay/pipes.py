"""The conduits of one relay thread: the one in use, a few spare, and those that blocked flows hold.

An idle session holds none. Only the thread that owns the pool uses it.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from kubelb.relay.conduit import Conduit
from kubelb.relay.copy import CopyBuffer
from kubelb.relay.splice import SplicePipe

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""Errnos: the process's own or the system's are used up."""
_SPARE = 4


def borrowed(fds: list[int], held: int) -> Conduit:
    """The conduit of another process: ``held`` bytes, and what its :meth:`~kubelb.relay.conduit.Conduit.lend` gave.

    The descriptors are this function's from now on.
    """
    if len(fds) == 2:
        return SplicePipe.of(fds[0], fds[1], held)
    with os.fdopen(fds[0], "rb", buffering=0) as file:
        return CopyBuffer(held, os.pread(file.fileno(), held, 0))


class Sizing(NamedTuple):
    """``room``: bytes a pipe is made for, a slot for each page of it; ``step``: bytes moved at most in a step."""

    room: int
    step: int


SHARED = Sizing(room=512 << 10, step=128 << 10)
"""Among many sessions: short steps, and slots enough for a step of segments that fill no page."""
BULK = Sizing(room=1 << 20, step=512 << 10)
"""For one session alone: Linux's default fs.pipe-max-size."""


class Pool:
    """Makes conduits, by splice until :meth:`fall_back`."""

    def __init__(self, sizing: Sizing, zero_copy: bool = True) -> None:
        self.zero_copy = zero_copy
        self._sizing = sizing
        self._spare: list[Conduit] = []

    def take(self) -> Conduit:
        """An empty one, the taker's until :meth:`give`. When descriptors run out, one that needs none."""
        if self._spare:
            return self._spare.pop()
        if self.zero_copy:
            try:
                return SplicePipe(*self._sizing)
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
        return CopyBuffer(self._sizing.step)

    def give(self, conduit: Conduit) -> None:
        """Take back an emptied conduit; one with bytes in it is thrown away with them, one for other steps too."""
        spliced, step = isinstance(conduit, SplicePipe), self._sizing.step
        fits = not conduit.held and (conduit.size == step or (spliced and conduit.size < step))
        if fits and len(self._spare) < _SPARE and spliced is self.zero_copy:
            self._spare.append(conduit)
        else:
            conduit.close()

    def fall_back(self, conduit: Conduit) -> CopyBuffer:
        """Splice was refused: from now on copy. Gives a buffer that holds what ``conduit`` held, and closes that."""
        self.zero_copy = False
        buffer = CopyBuffer(self._sizing.step, conduit.salvage())
        conduit.close()
        self.close()
        return buffer

    def close(self) -> None:
        while self._spare:
            self._spare.pop().close()
