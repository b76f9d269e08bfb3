"""What was seen of a case: values that are compared as equal, and how nginx's become what kubelb's have to be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
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
    unix: bool
    """It is a unix socket, which knows no reset."""


Line = Mapping[str, str]
"""Of the access log: the variables' values."""
SHAPED = (
    *("connection", "pid", "msec", "time_local", "time_iso8601", "session_time"),
    *("upstream_connect_time", "upstream_first_byte_time", "upstream_session_time"),
)
"""Variables of whose values only the form is the same in both."""
_NOBODY = "502"
"""The status where no server could be reached."""


def parsed(text: str) -> Line:
    """A line, split where no value can be; each number of :data:`SHAPED` is 0."""
    values = dict(each.split("=", 1) for each in text.split('"'))
    return {name: re.sub(r"\d+", "0", value) if name in SHAPED else value for name, value in values.items()}


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
    log: Line
    told: str
    """What a client without a server was told, or a server before it heard from its client."""


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
        return replace(theirs, client=_reset(theirs.client)) if theirs.log["status"] == _NOBODY else theirs
    client, server = (_reset(heard) if heard.cut else heard for heard in (theirs.client, theirs.server))
    return replace(theirs, client=client, server=server)


def _reset(heard: Heard) -> Heard:
    """It was told so, unless it has left itself."""
    return heard if heard.end is End.OWN or heard.unix else replace(heard, end=End.RESET, last=End.RESET)
