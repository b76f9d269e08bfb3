"""What bytes pass through between two sockets: the seam between the zero-copy path and the copying one."""

from __future__ import annotations

from typing import Protocol


class Conduit(Protocol):
    """Empty between steps, unless its last step left ``held`` bytes that the destination would not take."""

    size: int
    """Bytes that one step moves at most."""
    held: int
    """Bytes read and not yet written."""
    foreign: bool
    """Whether another process may have it, too, and write into it: no second session may use it."""

    def step(self, src: int, dst: int) -> int:
        """Move what ``src`` has to ``dst``: bytes read, 0 at the end of file. Only while nothing is held.

        Raises :class:`BlockingIOError` when there is nothing to read, :class:`OSError` when a socket failed.
        """

    def drain(self, dst: int) -> None:
        """Write what is held, as far as ``dst`` takes it. Raises :class:`OSError` when it failed."""

    def salvage(self) -> bytes:
        """What is held, taken out."""

    def discard(self) -> None:
        """Throw away all that is in it, also what an interrupted step may have left beside ``held``.

        Takes no memory. Raises :class:`OSError` where that fails; it must not be used then, only closed.
        """

    def lend(self) -> list[int]:
        """Descriptors by which another process gets at what is held: copies, the caller's. Nothing is taken out.

        Two are those of a pipe; one is of a file that has the bytes from its beginning.
        """

    def close(self) -> None:
        """With what is held. It raises nothing: a descriptor is gone whatever close(2) says."""
