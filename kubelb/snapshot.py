"""What the data plane works from: an immutable picture of all pools and listeners; pure.

A snapshot travels from control to the supervisor to every worker. ``version`` grows by one with each change.
Servers here are resolved: one entry an address. ``slot`` is the server's column in the shared counters and
stays with it as long as it is a member.
"""

from __future__ import annotations

import msgspec

from kubelb.config.model import Balance, Log

SocketAddress = tuple[str, int]
"""A numeric host and a port, as :func:`socket.connect` takes them; a host with a colon is IPv6."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One address of one configured server."""

    slot: int
    name: str
    """As configured, ``host:port``: its identity for hashing and in everything the operator sees."""
    address: SocketAddress
    weight: int = 1
    max_fails: int = 1
    fail_timeout: float = 10.0
    """Seconds."""
    max_conns: int = 0
    backup: bool = False
    down: bool = False


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a pool, in configured order."""

    name: str
    balance: Balance
    hash_key: str
    servers: tuple[Server, ...]


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """How sessions accepted on one listening socket are treated; its place in the tuple is the socket's."""

    address: str
    """As shown to the operator."""
    pool: str
    connect_timeout: float
    """Seconds."""
    idle_timeout: float | None
    """Seconds; None: no limit."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All a worker needs to know to serve."""

    version: int
    listeners: tuple[Listener, ...]
    pools: tuple[Pool, ...]
    log: Log = Log()
