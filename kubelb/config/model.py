"""The one configuration model; every reader makes it and nothing past ``config/`` knows where it came from. Pure.

All structs are frozen, all defaults stand here and nowhere else. The field names are the TOML keys, except
where ``rename`` says otherwise.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kubelb.config.faults import Places
from kubelb.config.values import Address, Duration
from kubelb.syslog.message import Facility, Severity

Balance = Literal["round_robin", "least_conn", "hash", "consistent_hash", "random", "random_two"]
Escape = Literal["default", "json", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]
VariableKind = Literal["map", "geo", "split_clients"]
ProbeKind = Literal["https", "http", "tls", "tcp", "off"]
OnDown = Literal["reset", "drain", "keep"]

RUNTIME_DIR = "/run/kubelb"
"""Of a proxy that is not told otherwise."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts of the model have in common."""


class Server(_Settings, frozen=True, kw_only=True):
    """One member of a pool, as configured; a name may resolve to several addresses."""

    address: Address
    service: str = ""
    """The servers are those of the name's SRV records for this service, such as ``https``, or ``_https._tcp``; the
    address is the name alone, port 0. Those of the best priority are primaries, all others backups."""
    weight: int = 1
    """Its share of sessions, relative to the others; 1 or more. Of a service at 1 the records' own."""
    max_fails: int = 1
    """Failed dials within ``fail_timeout`` after which it is left out for ``fail_timeout``; 0: never left out."""
    fail_timeout: Duration = Duration(10)
    max_conns: int = 0
    """Most live sessions over all workers; 0: no limit."""
    backup: bool = False
    """Picked only when no other server is left. Of a service: those of the best priority; there are no others."""
    down: bool = False
    """Never picked."""
    tier: int = 0
    """Those of the lowest tier that has a server up are used; 0 is the first choice, such as the same zone."""
    resolve: bool = True
    """Of a name, where its pool has a discovery: that holds for it; else it is looked up as without one."""

    @property
    def name(self) -> str:
        """What it is in its pool: ``host:port``, or the name of its SRV records (``ngx_resolve_name``,
        src/core/ngx_resolver.c)."""
        if not self.service:
            return str(self.address)
        return f"{self.service if '.' in self.service else f'_{self.service}._tcp'}.{self.address.host}"


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
    """For SNI, the certificate and the Host header; empty: the server's host as configured, or as its SRV record has
    it."""
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


class Discovery(_Settings, frozen=True, kw_only=True):
    """The names among a pool's servers are looked up again and again while the proxy runs, and not before."""

    source: Literal["dns"]
    resolver: tuple[Address, ...] = ()
    """DNS servers that are asked in turn; empty: whoever the system asks, with its hosts file."""
    interval: Duration | None = None
    """Between two lookups; None: for as long as the answer says that it holds, or 30 s where it does not."""
    timeout: Duration = Duration(5)
    """For which an answer of the ``resolver`` is waited for, of all of them together."""
    ipv4: bool = True
    """Whether a name's IPv4 addresses are asked for."""
    ipv6: bool = True


class Pool(_Settings, frozen=True, kw_only=True):
    """Servers that serve the same thing, and how one of them is picked."""

    servers: tuple[Server, ...]
    balance: Balance = "least_conn"
    hash_key: str = "$remote_addr"
    """For hash and consistent_hash: a text with variables (:func:`kubelb.config.variables.client_variables`)."""
    drain_timeout: Duration = Duration(60)
    """How long sessions may stay on a server that drains, is no longer ready, or has left the pool."""
    keepalive: Duration = Duration(5)
    """Silence after which TCP asks a server whether it is still there; 0: never."""
    user_timeout: Duration = Duration(10)
    """How long a server may leave bytes or that question unacknowledged until it counts as gone
    (TCP_USER_TIMEOUT, RFC 5482); 0: the kernel's own limit, about 15 minutes."""
    health: Health = Health()
    discovery: Discovery | None = None
    """None: names are looked up when the proxy starts, and at every reload."""
    rebalance: Rebalance | None = None
    """None: sessions stay where they are."""


class Syslog(_Settings, frozen=True, kw_only=True):
    """A syslog server, which gets datagrams as RFC 3164 has them."""

    server: Address
    """Its unix socket, or where it listens (UDP). A name is looked up when the proxy starts, or at a reload."""
    facility: Facility = "local7"
    severity: Severity = "info"
    """Of an access log; events have each their own."""
    tag: str = "kubelb"
    """The program that messages say they are from."""
    hostname: bool = True
    """Whether they say which machine they are from."""


class AccessLog(_Settings, frozen=True, kw_only=True):
    """A line for each client, written when all is over, to a file or a syslog server; nginx's ``access_log``."""

    file: str = ""
    """Its path; ``/dev/stdout`` and ``/dev/stderr`` are what the process has open as such."""
    syslog: Syslog | None = None
    """In place of a file."""
    format: str = ""
    """A text with variables (:func:`kubelb.config.variables.session_variables`); empty: a JSON object."""
    escape: Escape = "default"
    """How the variables' values are made safe: with ``\\xXX``, as within a JSON string, or not at all."""
    buffer: int = 0
    """Bytes that are gathered before they are written; 0: each line is written at once."""
    flush: Duration | None = None
    """How long a line may stay in the buffer; None: until that is full."""
    gzip: int = 0
    """Level, 1 to 9, at which each buffer is compressed; 0: not at all."""
    condition: str = msgspec.field(default="", name="if")
    """A text with variables; who makes it empty or ``0`` is not logged. Empty: everybody is logged."""


class Part(_Settings, frozen=True, kw_only=True):
    """Of all clients so many have that value."""

    percent: str
    """With at most two decimals, such as ``"0.5%"``."""
    value: str


class MapRegex(_Settings, frozen=True, kw_only=True):
    """A regular expression of a map, PCRE's; of a text it need find a part only."""

    pattern: str
    value: str
    any_case: bool = False
    """Whether a letter stands for both cases."""


class Variable(_Settings, frozen=True, kw_only=True):
    """A variable of one's own, which may stand wherever nginx's may; its value depends on a text with variables."""

    kind: VariableKind
    """map: on what the text is; geo: on the network it is an address in; split_clients: on a hash of it, so that of
    all clients each part has a value."""
    source: str = "$remote_addr"
    """The text."""
    values: dict[str, str] = {}
    """Of a map: by what the text is, case does not count; each may have variables. Of geo: by network, the smallest
    counts."""
    regexes: tuple[MapRegex, ...] = msgspec.field(default=(), name="regex")
    """Of a map: where no value fits, the first of these that finds something in the text, if that is not empty. What
    it has captured is a variable from then on, ``$1`` to ``$9`` and those with names."""
    parts: tuple[Part, ...] = msgspec.field(default=(), name="part")
    """Of split_clients."""
    default: str = ""
    """Where nothing fits."""
    hostnames: bool = False
    """Of a map: ``*.example.org``, ``.example.org`` and ``www.example.*`` stand for many names, the
    longest counts."""
    volatile: bool = False
    """Of a map: it is looked up each time, also once it has a value."""


class Assignment(_Settings, frozen=True, kw_only=True):
    """A variable that the clients of one listener have; nginx's ``set``."""

    variable: str
    value: str
    """A text with variables (:func:`kubelb.config.variables.client_variables`)."""


class Binding(_Settings, frozen=True, kw_only=True):
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


class Limit(_Settings, frozen=True, kw_only=True):
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


class Listener(_Settings, frozen=True, kw_only=True):
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
    """A server that has not accepted for so long is given company: another one is tried beside it."""
    idle_timeout: Duration | None = None
    """A session in which nothing moved for so long, in either direction, is closed; None: never."""
    half_close: bool = True
    """A side that has ended may still be answered; else the first end of either side ends the session."""
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


class Header(_Settings, frozen=True, kw_only=True):
    """What answers carry beside their own headers; nginx's ``add_header``."""

    name: str
    value: str
    """A text with variables (:func:`kubelb.config.http_variables.http_variables`)."""
    always: bool = False
    """Whatever the status; else only with 200, 201, 204, 206, 304 and redirects."""


class Location(_Settings, frozen=True, kw_only=True):
    """One path of an HTTP endpoint: an answer made at once, or nginx's ``stub_status`` counters."""

    path: str
    exact: bool = False
    """The path itself only, not what begins with it."""
    status: int = 200
    body: str = ""
    """A text with variables, as a header's; of 301, 302, 303, 307 and 308 the URL that is redirected to."""
    content_type: str = "text/plain"
    stub_status: bool = False
    access: tuple[str, ...] = ()
    """As a listener's: who is not let in gets 403. Empty, as for the next: the server's count."""
    headers: tuple[Header, ...] = msgspec.field(default=(), name="header")
    keepalive_timeout: Duration | None = None
    """After its answers, in the place of the server's; None, as for the next: the server's."""
    keepalive_requests: int | None = None


class HttpServer(_Settings, frozen=True, kw_only=True):
    """A health endpoint: answers over plain HTTP, in the form of nginx's ``http { server {} }``."""

    listen: tuple[Address, ...]
    """Servers may share addresses: the name that is asked for chooses."""
    server_names: tuple[str, ...] = ()
    """Names, and wildcards: ``*.example.org``, ``.example.org`` and ``www.example.*``; "": for who asks for none."""
    default_on: tuple[Address, ...] = ()
    """Where this server answers for names that none has; elsewhere the first does."""
    header_timeout: Duration = Duration(10)
    """How long a request may take to be there, up to its body. Of servers that share an address, this and the next
    two are those of the one that answers for names that none has."""
    body_timeout: Duration = Duration(10)
    """How long nothing of a body may come."""
    send_timeout: Duration = Duration(10)
    """How long a client may take nothing of an answer."""
    keepalive_timeout: Duration = Duration(75)
    """How long a connection waits for its next request; 0: it is closed after each answer."""
    keepalive_requests: int = 1000
    """So many are answered on a connection."""
    access: tuple[str, ...] = ()
    """As a listener's, for all paths but those whose location has its own."""
    headers: tuple[Header, ...] = msgspec.field(default=(), name="header")
    """The same of what answers carry."""
    locations: tuple[Location, ...] = msgspec.field(default=(), name="location")


class Admin(_Settings, frozen=True, kw_only=True):
    """What can be looked at over TCP: health, state and metrics of the proxy itself. Nothing can be changed there."""

    listen: Address | None = None
    """None: nothing; admin.sock is always there."""


class Process(_Settings, frozen=True, kw_only=True):
    """How the processes run."""

    user: str | None = None
    """Whom workers and control run as where the supervisor is root; None: as the supervisor does."""
    group: str | None = None
    """None: the user's own."""
    pid_file: str | None = None
    """Where the supervisor's pid is written beside the runtime directory, for whoever looks there; None: nowhere."""
    priority: int = 0
    """Of the workers: nice values, -20 to 19."""
    cpus: tuple[tuple[int, ...], ...] = ()
    """For each worker in turn the CPUs it may run on, the last for all that follow; empty: any. With ``pin`` it keeps
    to one of them."""
    max_connections: int | None = None
    """Most connections of a worker: a session is two, each address listened on and the supervisor's channel one."""


class LogTarget(_Settings, frozen=True, kw_only=True):
    """Where events go to."""

    level: LogLevel = "info"
    file: str | None = None
    """None, and no syslog: standard error."""
    syslog: Syslog | None = None


class Log(LogTarget, frozen=True, kw_only=True):
    """What is logged; JSON, unless it goes to a terminal."""

    access: bool = False
    """An event for each client, of every listener, when all is over."""
    also: tuple[LogTarget, ...] = ()
    """Where events go as well."""

    @property
    def targets(self) -> tuple[LogTarget, ...]:
        """All of them."""
        return (LogTarget(level=self.level, file=self.file, syslog=self.syslog), *self.also)

    @property
    def levels(self) -> tuple[LogLevel, ...]:
        """Of each in turn."""
        return (self.level, *(target.level for target in self.also))


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
    process: Process = Process()
    log: Log = Log()
    admin: Admin = Admin()
    variables: dict[str, Variable] = msgspec.field(default_factory=dict, name="variable")
    """By their names, in lower case."""
    listeners: tuple[Listener, ...] = msgspec.field(default=(), name="listener")
    pools: dict[str, Pool] = msgspec.field(default_factory=dict, name="pool")
    http: tuple[HttpServer, ...] = ()


class Loaded(msgspec.Struct, frozen=True):
    """What a reader gives: the configuration, one line for each setting accepted without effect, and where the
    settings stood."""

    config: Config
    warnings: tuple[str, ...] = ()
    places: Places = {}
    daemon: bool = False
    """Whether nginx would go to the background with it."""
