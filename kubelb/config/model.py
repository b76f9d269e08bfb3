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
ProbeKind = Literal["https", "http", "tls", "tcp", "off"]
OnDown = Literal["reset", "drain", "keep"]

RUNTIME_DIR = "/run/kubelb"
"""Of a proxy that is not told otherwise."""


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
    tier: int = 0
    """Those of the lowest tier that has a server up are used; 0 is the first choice, such as the same zone."""


class Health(_Settings, frozen=True, kw_only=True):
    """How servers are probed, and what becomes of a server that is found dead, and of its sessions."""

    probe: ProbeKind = "https"
    """off: servers are judged by failed dials alone, as nginx does it."""
    path: str = "/readyz"
    """For http and https."""
    interval: Duration = Duration(1)
    timeout: Duration = Duration(1)
    rise: int = 1
    """Passed probes in a row after which a server that was down is up."""
    fall: int = 2
    """Failed probes in a row after which it is down."""
    expect: tuple[int, ...] = ()
    """HTTP statuses of a ready server; empty: 200, with https also 401 and 403: alive, if closed to strangers."""
    server_name: str = ""
    """For SNI, the certificate and the Host header; empty: the server's host as configured."""
    ca_file: str | None = None
    """Whom the server's certificate must come from; None: it is not checked."""
    cert_file: str | None = None
    """Client certificate (PEM, chain), and its key unless that is in ``key_file``."""
    key_file: str | None = None
    token_file: str | None = None
    """Bearer token, read anew for every request."""
    on_down: OnDown = "reset"
    """What the sessions of a server that went down get: a reset, ``drain_timeout``, or all the time they want."""
    reset_spread: Duration = Duration(0)
    """Sessions are reset at random moments within so long, so that not all nodes redial at once."""
    slow_start: Duration = Duration(10)
    """How long the share of a server that came back grows to its full size; 0: it has that at once."""


PASSIVE = Health(probe="off")
"""Servers are judged as nginx does it."""


class Rebalance(_Settings, frozen=True, kw_only=True):
    """Closing idle sessions of the fullest server, so that their clients redial to a less loaded one."""

    every: Duration = Duration(10)
    threshold: float = 0.2
    """How far apart the loads of servers may be, as a part of their mean, before anything is done."""
    at_most: int = 1
    """Sessions closed each time."""
    quiet: Duration = Duration(1)
    """A session is idle once nothing has moved for so long."""


class Pool(_Settings, frozen=True, kw_only=True):
    """Servers that serve the same thing, and how one of them is picked."""

    servers: tuple[Server, ...]
    balance: Balance = "least_conn"
    hash_key: str = "$remote_addr"
    """For hash and consistent_hash: a text; ``$remote_addr`` or ``${remote_addr}`` in it is the client's address."""
    drain_timeout: Duration = Duration(60)
    """How long sessions may stay on a server that drains, is no longer ready, or has left the pool."""
    keepalive: Duration = Duration(5)
    """Silence after which TCP asks a server whether it is still there; 0: never."""
    user_timeout: Duration = Duration(10)
    """How long a server may leave bytes or that question unacknowledged until it counts as gone
    (TCP_USER_TIMEOUT, RFC 5482); 0: the kernel's own limit, about 15 minutes."""
    health: Health = Health()
    rebalance: Rebalance | None = None
    """None: sessions stay where they are."""


class Listener(_Settings, frozen=True, kw_only=True):
    """Addresses we accept on, and the pool their sessions go to."""

    listen: tuple[Address, ...]
    pool: str
    connect_timeout: Duration = Duration(2)
    """How long a client may wait until some server has accepted its connection."""
    hedge_delay: Duration = Duration(0.25)
    """A server that has not accepted for so long is given company: another one is tried beside it."""
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


class Admin(_Settings, frozen=True, kw_only=True):
    """What can be looked at over TCP: health, state and metrics of the proxy itself. Nothing can be changed there."""

    listen: Address | None = None
    """None: nothing; admin.sock is always there."""


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
    runtime_dir: str = RUNTIME_DIR
    """Directory of the pid file and admin.sock."""
    max_open_files: int | None = None
    """File descriptors a process may have; None: the hard limit."""
    shutdown_timeout: Duration | None = None
    """How long sessions may take to end after a graceful stop; None: as long as they like."""
    log: Log = Log()
    admin: Admin = Admin()
    listeners: tuple[Listener, ...] = msgspec.field(default=(), name="listener")
    pools: dict[str, Pool] = msgspec.field(default_factory=dict, name="pool")
    http: tuple[HttpServer, ...] = ()


class Loaded(msgspec.Struct, frozen=True):
    """What a reader gives: the configuration, one line for each setting accepted without effect, and where the
    settings stood."""

    config: Config
    warnings: tuple[str, ...] = ()
    places: Places = {}
