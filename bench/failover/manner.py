"""How a stand-in for a kube-apiserver behaves, as the bench tells it; pure."""

from __future__ import annotations

from enum import Enum

import msgspec


class Door(Enum):
    """What becomes of new connections."""

    OPEN = "open"
    """They are accepted."""
    QUEUED = "queued"
    """The kernel completes them and nobody takes them, as where accept() fails for want of descriptors."""
    FULL = "full"
    """The queue is full: the kernel drops each SYN."""
    CLOSED = "closed"
    """Nobody listens: they are refused."""


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, from the moment a server is told; requests that came before keep the manner of their time."""

    door: Door = Door.OPEN
    ready: int = 200
    """The status of ``/readyz``."""
    ready_seconds: tuple[float, ...] = (0.0,)
    """What replies to ``/readyz`` take, beside :attr:`seconds`: one value after the other, from the first again."""
    status: int = 200
    """All other replies have this status."""
    seconds: tuple[float, float] = (0.0, 0.0)
    """Each reply takes a time drawn evenly from between these two."""
    answers: bool = True
    """False: TLS handshakes are done, and requests wait until a server that answers again is told so."""
    lasts: bool = True
    """False: each connection closes with its next reply."""


WELL = Manner()
