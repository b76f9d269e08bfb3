"""The one configuration model; every reader makes it and nothing past ``config/`` knows where it came from. Pure.

All structs are frozen, all defaults stand here and nowhere else. The field names are the TOML keys, except
where ``rename`` says otherwise.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kubelb.config.faults import Places
from kubelb.config.values import Address, Duration

Balance = Literal["round_robin", "least_conn", "hash", "consistent_hash", "random", "random_two"]
LogLevel = Literal["debug", "info", "warning", "error"]


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts of the model have in common."""


class Server(_Settings, frozen=True, kw_only=True):
    """One member of a pool, as configured; a name may resolve to several addresses."""

    address: Address
    weight: int = 1
    """Its share of sessions, relative to the others; 1 or more."""
    max_fails: int = 1
    """Failed dials within ``fail_timeout`` after which it is left out for ``fail_timeout``; 0: never left out."""
    fail_timeout: Duration = Duration(10)
    max_conns: int = 0
    """Most live sessions over all workers; 0: no limit."""
    backup: bool = False
    """Picked only when no other server is left."""
    down: bool = False
    """Never picked."""


class Pool(_Settings, frozen=True, kw_only=True):
    """Servers that serve the same thing, and how one of them is picked."""

    servers: tuple[Server, ...]
    balance: Balance = "least_conn"
    hash_key: str = "$remote_addr"
    """For hash and consistent_hash: a text; ``$remote_addr`` or ``${remote_addr}`` in it is the client's address."""


class Listener(_Settings, frozen=True, kw_only=True):
    """Addresses we accept on, and the pool their sessions go to."""

    listen: tuple[Address, ...]
    pool: str
    connect_timeout: Duration = Duration(2)
    """How long one server may take to accept a connection."""
    idle_timeout: Duration | None = None
    """A session in which nothing moved for so long, in either direction, is closed; None: never."""


class Location(_Settings, frozen=True, kw_only=True):
    """One path of an HTTP endpoint: a fixed answer, or nginx's ``stub_status`` counters."""

    path: str
    exact: bool = False
    """The path itself only, not what begins with it."""
    status: int = 200
    body: str = ""
    content_type: str = "text/plain"
    stub_status: bool = False


class HttpServer(_Settings, frozen=True, kw_only=True):
    """A health endpoint: fixed answers over plain HTTP, in the form of nginx's ``http { server {} }``."""

    listen: tuple[Address, ...]
    locations: tuple[Location, ...] = msgspec.field(default=(), name="location")


class Log(_Settings, frozen=True, kw_only=True):
    """What is logged; always to standard error, JSON unless that is a terminal."""

    level: LogLevel = "info"
    access: bool = False
    """One line per ended session."""


class Config(_Settings, frozen=True, kw_only=True):
    """A whole proxy."""

    workers: int | Literal["auto"] = "auto"
    """Data-plane processes; auto: one a CPU, at most 4."""
    threads: int | Literal["auto", "per-connection"] = "auto"
    """Relay threads a worker; auto: one, and one more for each session that moves bulk data."""
    pin: bool = False
    """Each worker on a CPU of its own."""
    runtime_dir: str = "/run/kubelb"
    """Directory of the pid file and admin.sock."""
    max_open_files: int | None = None
    """File descriptors a process may have; None: the hard limit."""
    shutdown_timeout: Duration | None = None
    """How long sessions may take to end after a graceful stop; None: as long as they like."""
    log: Log = Log()
    listeners: tuple[Listener, ...] = msgspec.field(default=(), name="listener")
    pools: dict[str, Pool] = msgspec.field(default_factory=dict, name="pool")
    http: tuple[HttpServer, ...] = ()


class Loaded(msgspec.Struct, frozen=True):
    """What a reader gives: the configuration, one line for each setting accepted without effect, and where the
    settings stood."""

    config: Config
    warnings: tuple[str, ...] = ()
    places: Places = {}
