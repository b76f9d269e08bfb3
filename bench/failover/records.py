"""What the client process has seen, as it hands it to the bench; pure. Times are seconds of the monotonic clock,
which all processes share."""

from __future__ import annotations

import msgspec

UNANSWERED = "no answer"
"""The fault of what its client waited for until it gave up, or until the measurement ended."""


class Try(msgspec.Struct, frozen=True, array_like=True):
    """One request of a keep-alive client, with the dial before it where one was needed; or one new connection, from
    its connect to the whole reply to its first request; or one transfer, from its connect to its last byte."""

    client: int
    """Which keep-alive client; 0 for a new connection and for a transfer."""
    begun: float
    ended: float
    server: str = ""
    """Who answered, or began to; empty: nobody."""
    fault: str = ""
    """Why nobody did to the end; empty: somebody did."""
    status: int = 0
    """Of the reply; 0 without one."""


class End(msgspec.Struct, frozen=True, array_like=True):
    """The end of a connection that had been served, unless its client closed it or a reply had announced it."""

    at: float
    """When its client saw it, which for a keep-alive client that asks nothing is at its next request."""
    server: str
    """Who had served it."""


class Harm(msgspec.Struct, frozen=True):
    """When something was done to servers."""

    begun: float
    done: float
    """Requests under way between these two were lost with the server, whatever the balancer does."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the client process does, all of it through the balancer."""

    clients: int = 0
    """Keep-alive clients; each asks again :attr:`pause` after each reply, and dials anew as soon as it is cut."""
    pause: float = 0.1
    """Seconds."""
    every: float = 0.0
    """Seconds between new connections, begun whether the last one has been answered or not; 0: none."""
    sessions: int = 0
    """Connections that ask once, stay, and redial as soon as they are cut."""
    transfers: int = 0
    """Clients that make one transfer after the other, each on a connection of its own."""
    finish: float = 5.0
    """Seconds that what was begun before the end may still take."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that happened."""

    stopped: float
    """When the clients were told to stop."""
    requests: list[Try]
    connections: list[Try]
    transfers: list[Try]
    ends: list[End]
    """Of keep-alive connections and of sessions."""
    sessions: list[str]
    """The servers of the long-lived sessions there were in the end; empty for one that had none."""
