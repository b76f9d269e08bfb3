"""What the data plane works from: an immutable picture of all pools and listeners; pure.

A snapshot travels from control to the supervisor to every worker. ``version`` grows by one with each change.
Servers here are resolved: one entry an address. ``slot`` is the server's column in the shared counters and
stays with it as long as it is a member.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from kubelb.config.access import Network, Rule
from kubelb.config.model.listeners import Limit
from kubelb.config.model.logs import AccessLog, Log
from kubelb.config.model.pools import Balance
from kubelb.config.model.variables import Assignment, Variable
from kubelb.stats import SLOTS

Slot = Annotated[int, msgspec.Meta(ge=1, lt=SLOTS)]
"""A server's column in the shared counters."""
SocketAddress = tuple[str, int]
"""A numeric host and a port; a host with a colon is IPv6, unless it is ``unix:`` and a path, with port 0."""


def target(address: SocketAddress) -> SocketAddress | str:
    """The same as :func:`socket.connect` takes it."""
    return address if address[1] else address[0].removeprefix("unix:")


State = Literal["unknown", "up", "suspect", "down", "draining", "disabled"]
"""What control thinks of a server.

- unknown: nobody has looked yet; used like one that is up.
- up: its newest evidence is good.
- suspect: there is doubt, or it never passed a probe yet; picked only where nothing better is left.
- down: its probes have failed; tried only where nothing else is left at all.
- draining: gets no new session and may keep those it has for a while: the operator wants it empty, or it
  answers its probes with "not ready" (then it is still tried before one that is down).
- disabled: configured as down; never picked.
"""

Spares = Literal["nobody", "heard", "acknowledged"]
"""Whom a reset passes over.

- nobody: the operator wants the server empty, or it wants that itself.
- heard: sessions to which bytes have come since the evidence was seen; the server was thought to hang.
- acknowledged: those, and sessions on which any packet has come since; the server was thought to be gone.
"""

GOOD: tuple[State, ...] = ("unknown", "up")
"""The states of servers that are used without reservation."""


Finding = Literal[
    "unknown", "alive", "late", "not told", "not ready", "forbidden", "silent", "broken", "closed", "gone"
]
"""What the evidence about a server comes to; each is explained in :mod:`kubelb.health.machine`."""
Door = Literal["", "open", "refused", "unanswered"]
"""What became of the newest connect to a server; empty: there has been none."""


class Condition(msgspec.Struct, frozen=True):
    """What control knows of one server. Times are seconds of the monotonic clock."""

    state: State = "unknown"
    since: float = 0.0
    """When it got into its state."""
    reason: str = ""
    finding: Finding = "unknown"
    found_at: float = 0.0
    """When the finding began."""
    passes: int = 0
    """In a row."""
    fails: int = 0
    """In a row."""
    proven: bool = False
    """Whether it ever passed a probe."""
    seen_at: float = -math.inf
    """When the newest evidence was seen."""
    downs: tuple[float, ...] = ()
    """When it went down, within the last minute before it last did."""
    back_at: float | None = None
    """When it last came up after having been down."""
    harm_from: float | None = None
    """When the first of the evidence against it began; None: nothing speaks against it."""
    good_at: float = -math.inf
    """When the newest look that found it good was begun."""
    good_since: float = -math.inf
    """When it was last found good after something had spoken against it."""
    readiness_visible: bool | None = None
    """Whether it tells us whether it is ready; None: it has not been asked, or has not answered."""
    answered_at: float = -math.inf
    """When it last answered a look, well or not."""
    answered_in: float | None = None
    """How long its last answer took, in seconds."""
    door: Door = ""
    door_at: float = -math.inf
    """When the connect that :attr:`door` tells of was begun."""
    unacked_since: float | None = None
    """Since when it has not acknowledged what a session has sent; None: it acknowledges."""
    retransmissions: int = 0
    """So often that has been sent again."""
    unheard_since: float | None = None
    """Since when a session has had no answer, although all is acknowledged."""
    heard_at: float = -math.inf
    """When bytes last came from it to any session."""
    acked_at: float = -math.inf
    """When any packet last came from it, as far as that was looked at."""

    @property
    def alive_at(self) -> float:
        """When it last gave a sign of life on a session."""
        return max(self.heard_at, self.acked_at)


class Probe(msgspec.Struct, frozen=True):
    """How a server's last probe went."""

    ended_at: float
    """Seconds of the monotonic clock."""
    seconds: float
    """It took so long."""
    fault: str = ""
    """Why it failed; empty: it passed."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One address of one configured server. Times are seconds of the monotonic clock, which all processes share."""

    slot: Annotated[int, msgspec.Meta(ge=0, lt=SLOTS)]
    """A :data:`Slot`; 0 in :attr:`Pool.names`, which have none."""
    name: str
    """As configured, ``host:port``: its identity for hashing and in everything the operator sees. In
    :attr:`Pool.names` it may be that of SRV records, without a port."""
    address: SocketAddress
    found_by: str = ""
    """The name whose SRV records have led to it: its own name is from there. Empty: that is configured."""
    weight: int = 1
    max_fails: int = 1
    fail_timeout: float = 10.0
    """Seconds."""
    max_conns: int = 0
    backup: bool = False
    tier: int = 0
    state: State = "unknown"
    since: float = 0.0
    """When it got into its state."""
    reason: str = ""
    """Why."""
    proven: bool = False
    """Whether it ever passed a probe."""
    drained: bool = False
    """The operator wants it empty: it is draining, whatever its probes say, and never picked."""
    removed: bool = False
    """It is no member any more: it is draining, never picked, and gone with its last session."""
    cut_at: float | None = None
    """When its sessions are to be reset; None: they may stay."""
    refuge_from: float | None = None
    """When another server was first seen good after what speaks against this one; None: none has been."""
    cut_spares: Spares = "nobody"
    """Which of its sessions are not reset all the same."""
    cut_against: float = 0.0
    """When the last evidence against it was seen, on which ``cut_at`` rests."""
    ramp_from: float | None = None
    """When it came back; its share of new sessions grows from then on. None: it has its full share."""
    late: bool = False
    """It answers, but later than it should: it gets a smaller share of new sessions."""
    probe: Probe | None = None
    known: Condition | None = None
    """What this picture rests on, for the control process that comes next; None: nobody has looked."""

    @property
    def may_be_picked(self) -> bool:
        """Whatever its state is otherwise."""
        return self.state != "disabled" and not self.drained and not self.removed


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a pool, in configured order."""

    name: str
    balance: Balance
    hash_key: str
    servers: tuple[Server, ...]
    names: tuple[Server, ...] = ()
    """Servers that are looked up while the proxy runs, with all their settings, but without slot and host, and
    without a port where SRV records say that."""
    order: tuple[str, ...] = ()
    """Where there are such, all names as configured."""
    keepalive: float = 0.0
    """Of server connections, seconds; as in :class:`kubelb.config.model.pools.Pool`."""
    user_timeout: float = 0.0
    """Seconds."""
    slow_start: float = 0.0
    """Seconds."""
    reset_spread: float = 0.0
    """Seconds over which sessions are reset from ``cut_at`` on."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """How sessions accepted on one listening socket are treated; its place in the tuple is the socket's."""

    address: str
    """As shown to the operator."""
    pool: str | None
    """None: there is an :attr:`answer`. With a dollar sign it is a text with variables, which names one of:"""
    pools: tuple[str, ...] = ()
    connect_timeout: float
    """Seconds."""
    hedge_delay: float = 0.25
    """Seconds."""
    idle_timeout: float | None = None
    """Seconds; None: no limit."""
    half_close_timeout: float = 60.0
    """Seconds."""
    half_close: bool = True
    """This and the next ones are as in :class:`kubelb.config.model.listeners.Listener`."""
    upload_rate: str = "0"
    download_rate: str = "0"
    max_tries: int = 0
    retry_timeout: float | None = None
    """Seconds."""
    bind: str = ""
    nodelay: bool = True
    limits: tuple[Limit, ...] = ()
    access_logs: tuple[AccessLog, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    answer: str | None = None
    """A text with variables for each client; nobody goes to a server then."""
    accept_proxy_protocol: bool = False
    proxy_protocol_timeout: float = 5.0
    """Seconds."""
    send_proxy_protocol: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    access: tuple[Rule, ...] = ()
    takes_ipv4: bool = False
    """Of an IPv6 address: whether clients may come by IPv4, too."""

    @property
    def reached(self) -> tuple[str, ...]:
        """The pools that sessions may go to."""
        return self.pools or (() if self.pool is None else (self.pool,))


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All a worker needs to know to serve."""

    version: int
    generation: int = 0
    """Of the configurations that the supervisor has read the number of the one that it is made from."""
    listeners: tuple[Listener, ...]
    pools: tuple[Pool, ...]
    max_clients: int | None = None
    """Of a relay thread at a time; None: as many as there are descriptors for."""
    log: Log = Log()
    request_logs: tuple[AccessLog, ...] = ()
    """Of the health endpoints, in the order of :func:`kubelb.config.log_targets.request_logs`."""
    variables: dict[str, Variable] = {}
    """The configuration's own."""

    @property
    def slots(self) -> set[int]:
        """Of its servers, in the shared counters."""
        return {server.slot for pool in self.pools for server in pool.servers}
