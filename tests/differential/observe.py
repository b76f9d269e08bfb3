"""What was seen of a case: values that are compared as equal, and how nginx's become what kubelb's have to be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum


class End(Enum):
    """How a connection ended, as seen from its peer's side."""

    OPEN = "open"
    """It has not."""
    CLEAN = "clean"
    RESET = "reset"
    OWN = "own"
    """Whoever looks has closed it."""

    def __repr__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Heard:
    """By one side of a session."""

    size: int
    digest: str
    end: End
    """Before everybody who was left at the end of the script left."""
    last: End
    """After it."""
    cut: bool
    """Whether the other side has reset the connection before any end had come."""


_NOBODY = "502 "
"""What a line of the access log begins with where no server could be reached."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8] if data else ""


@dataclass(frozen=True)
class Session:
    """Of one client."""

    client: Heard
    server: Heard | None
    """None: it got none."""
    picked: int | None
    """The server's number."""
    seen_from: str | None
    """The address that the server was connected to from."""
    log: str
    """Its line in the access log."""


Observation = tuple[Session, ...]
"""Of a whole case."""


def expected(theirs: Observation) -> Observation:
    """What kubelb has to show where nginx shows ``theirs``: the differences of DIFFERENCES.md that are wanted here.

    A client for whom there is no server is reset, where nginx closes. A reset by one side is a reset for the other,
    where nginx closes.
    """
    return tuple(map(_expected, theirs))


def _expected(theirs: Session) -> Session:
    if theirs.server is None:
        return replace(theirs, client=_reset(theirs.client)) if theirs.log.startswith(_NOBODY) else theirs
    client, server = (_reset(heard) if heard.cut else heard for heard in (theirs.client, theirs.server))
    return replace(theirs, client=client, server=server)


def _reset(heard: Heard) -> Heard:
    """It was told so, unless it has left itself."""
    return heard if heard.end is End.OWN else replace(heard, end=End.RESET, last=End.RESET)
