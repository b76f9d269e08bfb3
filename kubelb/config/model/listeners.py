"""Where clients are accepted, and how they are received and taken on; pure."""

from __future__ import annotations

import msgspec

from kubelb.config.model.logs import AccessLog, LogLevel
from kubelb.config.model.settings import Settings
from kubelb.config.model.variables import Assignment
from kubelb.config.values import Address, Duration


class Binding(Settings, frozen=True, kw_only=True):
    """The socket of an address that is listened on; what it accepts has the same buffers and keepalive."""

    backlog: int = 4096
    """Clients that may wait to be accepted; the kernel lowers it to net.core.somaxconn."""
    receive_buffer: int | None = None
    """Bytes (SO_RCVBUF); None, as for the next: the kernel sees to it."""
    send_buffer: int | None = None
    fast_open: int = 0
    """How many connections may have sent data before they are established (TCP_FASTOPEN, RFC 7413); 0: none."""
    ipv6_only: bool = True
    """Of an IPv6 address: IPv4 clients do not reach it."""
    keepalive: bool = False
    """Whether TCP asks clients that are silent for a sign of life."""
    keepalive_idle: Duration = Duration(0)
    """After so long, whole seconds; 0, as for the next: as the kernel has it (net.ipv4.tcp_keepalive_time)."""
    keepalive_interval: Duration = Duration(0)
    """And again after so long."""
    keepalive_count: int = 0
    """So often, until it counts as gone; 0: as the kernel has it."""


class Limit(Settings, frozen=True, kw_only=True):
    """How many clients of a kind there may be at a time, over all workers; nginx's ``limit_conn``."""

    key: str
    """A text with variables (:func:`kubelb.config.variables.client_variables`): those for whom it is the same are of
    a kind. Who makes it empty is not counted."""
    connections: int
    zone: str = ""
    """Listeners with the same zone and key count together."""
    dry_run: bool = False
    """Who is too many is told of, and let in."""
    log_level: LogLevel = "error"
    """At which it is told of."""


class Listener(Settings, frozen=True, kw_only=True):
    """Addresses we accept on, and the pool their sessions go to."""

    listen: tuple[Address, ...]
    socket: Binding = Binding()
    pool: str | None = None
    """Its name; with a dollar sign in it a text with variables, as below, that makes one for each client."""
    assignments: tuple[Assignment, ...] = msgspec.field(default=(), name="set")
    """In this order, as soon as a client has come."""
    answer: str | None = msgspec.field(default=None, name="return")
    """In place of a pool: a text with variables (:func:`kubelb.config.variables.session_variables`) that each client
    gets, and no more."""
    accept_proxy_protocol: bool = False
    """Each connection begins with a PROXY protocol header, version 1 or 2, or is closed."""
    proxy_protocol_timeout: Duration = Duration(5)
    """How long a client may keep that header waiting."""
    send_proxy_protocol: bool = False
    """Each connection to a server begins with such a header, version 1."""
    trusted_proxies: tuple[str, ...] = ()
    """``unix:``, addresses, networks and names (:func:`kubelb.config.access.parse_network`): connections from there
    are their header's client's."""
    access: tuple[str, ...] = ()
    """``allow`` or ``deny``, and ``all``, ``unix:``, an address or a network: the first that fits a client counts."""
    limits: tuple[Limit, ...] = msgspec.field(default=(), name="limit")
    connect_timeout: Duration = Duration(2)
    """How long a client may wait until some server has accepted its connection."""
    hedge_delay: Duration = Duration(0.25)
    """A server that has not accepted for so long, or has accepted and not answered a TLS ClientHello, is given
    company: another one is tried beside it."""
    idle_timeout: Duration | None = None
    """A session in which nothing moved for so long, in either direction, is closed; None: never."""
    half_close: bool = True
    """A side that has ended may still be answered; else the first end of either side ends the session."""
    half_close_timeout: Duration = Duration(60)
    """A session of which one side has ended, and in which nothing moved for so long, is closed."""
    upload_rate: str = "0"
    """Bytes a second that a client may send, 0: as they come; ``k`` and ``m`` count as KiB and MiB. A text with
    variables (:func:`kubelb.config.variables.client_variables`) that make such a number."""
    download_rate: str = "0"
    """The same of what a client is sent."""
    max_tries: int = 0
    """Servers that are tried at most for a client; 0: as many as there are."""
    retry_timeout: Duration | None = None
    """After so long no further server is tried, those under way may still accept; None: until ``connect_timeout``."""
    bind: str = ""
    """The address, or address and port, that servers are connected to from: a text with variables, as above. Empty:
    the kernel chooses."""
    nodelay: bool = True
    """Small pieces are sent at once (TCP_NODELAY), to clients and to servers."""
    access_logs: tuple[AccessLog, ...] = msgspec.field(default=(), name="access_log")
