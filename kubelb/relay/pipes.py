"""The conduits of one relay thread: the one in use, a few spare, and those that blocked flows hold.

An idle session holds none. Only the thread that owns the pool uses it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from kubelb.own_limits import EXHAUSTED
from kubelb.relay.conduit import Conduit
from kubelb.relay.copy import CopyBuffer
from kubelb.relay.splice import REFUSALS, ForeignPipe, SplicePipe

_SPARE = 4


def borrowed(fds: list[int], held: int) -> Conduit:
    """The conduit of another process: ``held`` bytes, and what its :meth:`~kubelb.relay.conduit.Conduit.lend` gave.

    The descriptors are this function's from now on.
    """
    if len(fds) == 2:
        return ForeignPipe(fds[0], fds[1], held)
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
        """An empty one, the taker's until :meth:`give`. Where no pipe can be had, one that needs no descriptor.

        Raises :class:`MemoryError` where there is no memory for that either.
        """
        if self._spare:
            return self._spare.pop()
        if self.zero_copy:
            try:
                return SplicePipe(*self._sizing)
            except OSError as error:
                if error.errno not in EXHAUSTED | REFUSALS:
                    raise
        return CopyBuffer(self._sizing.step)

    def is_full_sized(self, conduit: Conduit) -> bool:
        """Whether it moves as much in a step as this pool's conduits are to, in the way they are to."""
        return conduit.size >= self._sizing.step and isinstance(conduit, SplicePipe) is self.zero_copy

    def give(self, conduit: Conduit) -> None:
        """Take back an emptied conduit. It is thrown away where bytes are in it or may come into it, or where it is
        for other steps: limits may have made it small that are not reached any more."""
        fits = not conduit.held and not conduit.foreign and conduit.size == self._sizing.step
        if fits and len(self._spare) < _SPARE and self.is_full_sized(conduit):
            self._spare.append(conduit)
        else:
            conduit.close()

    def renew(self, conduit: Conduit) -> Conduit:
        """A better one for an empty conduit that limits have made small, if there is one now; else the same."""
        if self.is_full_sized(conduit):
            return conduit
        try:
            fresh = self.take()
        except (OSError, MemoryError):
            return conduit
        better = isinstance(fresh, SplicePipe) and (fresh.size > conduit.size or not isinstance(conduit, SplicePipe))
        (conduit if better else fresh).close()
        return fresh if better else conduit

    def fall_back(self, conduit: Conduit) -> CopyBuffer:
        """Splice was refused: from now on copy. Gives a buffer that holds what ``conduit`` held, and closes that."""
        buffer = CopyBuffer(self._sizing.step, conduit.salvage())
        self.zero_copy = False
        conduit.close()
        self.close()
        return buffer

    def close(self) -> None:
        while self._spare:
            self._spare.pop().close()
