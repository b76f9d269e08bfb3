"""Pools, their servers, and how these are probed and found; pure."""

from __future__ import annotations

from typing import Literal

from kubelb.config.model.settings import Settings
from kubelb.config.values import Address, Duration

Balance = Literal["round_robin", "least_conn", "hash", "consistent_hash", "random", "random_two"]
ProbeKind = Literal["https", "http", "tls", "tcp", "off"]
OnDown = Literal["reset", "drain", "keep"]


class Server(Settings, frozen=True, kw_only=True):
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


class Health(Settings, frozen=True, kw_only=True):
    """How servers are probed, and what becomes of a server that is found dead, and of its sessions."""

    probe: ProbeKind = "https"
    """off: servers are judged by failed dials alone, as nginx does it."""
    port: int | None = None
    """Where probes go in place of the server's own port; None: there."""
    path: str = "/readyz"
    """For http and https."""
    interval: Duration = Duration(5)
    """Between two probes of a server that is well; where there is doubt they come at once."""
    timeout: Duration = Duration(3)
    """After which a server that has not answered is silent. A kube-apiserver whose etcd hangs answers after 2.0 s."""
    hang_timeout: Duration = Duration(5)
    """After which a silent server counts as hung, if no byte of it comes to any session either: its sessions are cut
    then, unless most of the pool is silent."""
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
    kubeconfig: str | None = None
    """Authority, certificate, key and token as a kubeconfig has them, in place of the files above; ``ca_file`` and
    ``server_name`` go before what it says. It and what it names are read anew once they have changed."""
    on_down: OnDown = "reset"
    """What the sessions of a server that went down get: a reset, ``drain_timeout``, or all the time they want."""
    reset_spread: Duration = Duration(1)
    """Sessions are reset at random moments within so long, so that not all nodes redial at once."""
    slow_start: Duration = Duration(10)
    """How long the share of a server that came back grows to its full size; 0: it has that at once."""


PASSIVE = Health(probe="off")
"""Servers are judged as nginx does it."""


class Rebalance(Settings, frozen=True, kw_only=True):
    """Closing idle sessions of the fullest server, so that their clients redial to a less loaded one."""

    every: Duration = Duration(10)
    threshold: float = 0.2
    """How far apart the loads of servers may be, as a part of their mean, before anything is done."""
    at_most: int = 1
    """Sessions closed each time."""
    quiet: Duration = Duration(1)
    """A session is idle once nothing has moved for so long."""


class Discovery(Settings, frozen=True, kw_only=True):
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


class Pool(Settings, frozen=True, kw_only=True):
    """Servers that serve the same thing, and how one of them is picked."""

    servers: tuple[Server, ...]
    balance: Balance = "least_conn"
    hash_key: str = "$remote_addr"
    """For hash and consistent_hash: a text with variables (:func:`kubelb.config.variables.client_variables`)."""
    drain_timeout: Duration = Duration(60)
    """How long sessions may stay on a server that drains, is no longer ready, or has left the pool."""
    keepalive: Duration = Duration(5)
    """Silence after which TCP asks a server whether it is still there; 0: never."""
    user_timeout: Duration = Duration(60)
    """How long a server may leave bytes or that question unacknowledged until TCP ends the session
    (TCP_USER_TIMEOUT, RFC 5482); 0: the kernel's own limit, about 15 minutes. It is a backstop: a dead server is
    found sooner by other evidence, and where all servers are away for a while, as when a switch restarts, sessions
    live on."""
    health: Health = Health()
    discovery: Discovery | None = None
    """None: names are looked up when the proxy starts, and at every reload."""
    rebalance: Rebalance | None = None
    """None: sessions stay where they are."""
