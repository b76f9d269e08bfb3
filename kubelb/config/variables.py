"""What of a session has a name: the variables of nginx's stream module, for TCP; pure.

Some are known as soon as a client is accepted, so that a server may be picked by them, the others when all is over.
Their values are those of nginx 1.22: ``ngx_stream_variables.c``, ``ngx_stream_upstream.c`` and
``ngx_stream_proxy_module.c`` in its src/stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from kubelb import __version__
from kubelb.config.expression import Expression, Variable, mentioned
from kubelb.config.own_variables import Own, with_own
from kubelb.inet import packed_host, shown

_Address = tuple[str, int]
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Worker(NamedTuple):
    """Where they are evaluated."""

    hostname: str
    pid: int
    own: tuple[Own, ...] = ()
    """The variables that the configuration makes."""


class Client(msgspec.Struct, frozen=True):
    """Who has come, and where. Addresses are numeric."""

    number: int
    """The connection's, which no other has."""
    remote: _Address
    local: _Address
    accepted_at: float = 0.0
    """Seconds of the monotonic clock."""
    connected_from: _Address | None = None
    """None: ``remote``; else that is what a trusted proxy has told."""
    told_source: _Address | None = None
    """What the PROXY header in front of its bytes told, whoever has written that."""
    told_destination: _Address | None = None
    limit_status: str = ""
    """What limits have said: PASSED, REJECTED or REJECTED_DRY_RUN; empty: there was none."""
    counted_as: tuple[int, ...] = ()
    """The kinds of clients among which it is counted (:mod:`kubelb.crowds`)."""
    own: dict[str, bytes] | None = None
    """What the configuration's own variables are, as far as that is known; None: they are not kept."""


class Try(msgspec.Struct, frozen=True):
    """One server that a client was to be taken to."""

    server: str
    """Its address; the pool's name: none was left to be tried."""
    began_at: float
    """Seconds of the monotonic clock."""
    seconds: float
    """After so long it had accepted, or failed, or was waited for no more."""
    accepted: bool = False
    header: int = 0
    """Bytes that it was told before the client's."""


class Opening(msgspec.Struct, frozen=True):
    """How a session came about, or why none did."""

    client: Client
    accepted_at: float
    """Seconds of the monotonic clock."""
    tries: tuple[Try, ...]


class Ended(NamedTuple):
    """A session that is over, or a client who got none."""

    opening: Opening
    status: int
    """nginx's: 200; 400 without a PROXY header, 403 for who may not come in, 502 where no server could be reached;
    0: it is not over."""
    now: float
    """Seconds of the monotonic clock."""
    at: datetime
    """The same moment, in local time."""
    bytes_up: int
    """Read from the client."""
    bytes_down: int
    """Read from the server."""
    unsent_up: int = 0
    """Of those how many the server never got."""
    unsent_down: int = 0
    """How many the client never got."""
    first_byte_at: float | None = None
    """When the server first said something, or ended; seconds of the monotonic clock."""


def address_text(address: _Address) -> str:
    """``host:port``, an IPv6 host in brackets; ``unix:`` and its path, of a client mostly without one."""
    host, port = address
    if ":" not in host:
        return f"{host}:{port}"
    return host if host.startswith("unix:") else f"[{host}]:{port}"


def _packed(client: Client) -> bytes:
    """Of a unix socket the text."""
    host = client.remote[0]
    return host.encode() if host.startswith("unix:") else packed_host(host)


def _host(address: _Address) -> bytes:
    """As nginx shows it, whatever the kernel's form is."""
    host = address[0]
    if ":" in host and not host.startswith("unix:"):
        host = shown(packed_host(host))
    return host.encode()


def _port(address: _Address) -> bytes:
    """nginx shows no port 0."""
    return b"%d" % address[1] if address[1] else b""


def _told_host(address: _Address | None) -> bytes | None:
    return None if address is None else address[0].encode()


def _told_port(address: _Address | None) -> bytes | None:
    return None if address is None else _port(address)


def _seconds(seconds: float) -> bytes:
    return b"%.3f" % max(0.0, seconds)


def _time_local(at: datetime) -> str:
    """As in nginx's ``ngx_time_update``; what ``strftime`` says for a month depends on the locale."""
    return f"{at.day:02d}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S %z}"


@lru_cache(maxsize=4)
def client_variables(worker: Worker) -> Mapping[str, Variable[Client]]:
    """Those that are known when a server is picked."""
    hostname, pid = worker.hostname.lower().encode(), b"%d" % worker.pid
    version = __version__.encode()
    known: dict[str, Variable[Client]] = {
        "binary_remote_addr": _packed,
        "connection": lambda client: b"%d" % client.number,
        "hostname": lambda client: hostname,
        "limit_conn_status": lambda client: client.limit_status.encode() or None,
        "nginx_version": lambda client: version,
        "pid": lambda client: pid,
        "protocol": lambda client: b"TCP",
        "proxy_protocol_addr": lambda client: _told_host(client.told_source),
        "proxy_protocol_port": lambda client: _told_port(client.told_source),
        "proxy_protocol_server_addr": lambda client: _told_host(client.told_destination),
        "proxy_protocol_server_port": lambda client: _told_port(client.told_destination),
        "realip_remote_addr": lambda client: _host(client.connected_from or client.remote),
        "realip_remote_port": lambda client: _port(client.connected_from or client.remote),
        "remote_addr": lambda client: _host(client.remote),
        "remote_port": lambda client: _port(client.remote),
        "server_addr": lambda client: _host(client.local),
        "server_port": lambda client: _port(client.local),
    }
    return with_own(known, worker.own, lambda client: client.own)


@lru_cache(maxsize=4)
def session_variables(worker: Worker) -> Mapping[str, Variable[Ended]]:
    """Those that are known when all is over."""
    early = {name: _of_client(variable) for name, variable in client_variables(worker).items()}
    return with_own({**early, **_ENDED}, worker.own, lambda ended: ended.opening.client.own)


def _of_client(variable: Variable[Client]) -> Variable[Ended]:
    return lambda ended: variable(ended.opening.client)


def _each_try(figure: Callable[[Ended, Try], bytes]) -> Variable[Ended]:
    """One figure for each server that was tried, as nginx lists them; None where there was none."""

    def listed(ended: Ended) -> bytes | None:
        tries = ended.opening.tries
        return b", ".join([figure(ended, one) for one in tries]) if tries else None

    return listed


def _connect_time(ended: Ended, one: Try) -> bytes:
    return _seconds(one.seconds) if one.accepted else b"-"


def _first_byte_time(ended: Ended, one: Try) -> bytes:
    if not one.accepted or ended.first_byte_at is None:
        return b"-"
    return _seconds(ended.first_byte_at - one.began_at)


def _session_time(ended: Ended, one: Try) -> bytes:
    return _seconds(ended.now - one.began_at if one.accepted else one.seconds)


_ENDED: Final[Mapping[str, Variable[Ended]]] = {
    "bytes_received": lambda ended: b"%d" % ended.bytes_up,
    "bytes_sent": lambda ended: b"%d" % (ended.bytes_down - ended.unsent_down),
    "msec": lambda ended: b"%.3f" % ended.at.timestamp(),
    "session_time": lambda ended: _seconds(ended.now - ended.opening.accepted_at),
    "status": lambda ended: b"%03d" % ended.status,
    "time_iso8601": lambda ended: ended.at.isoformat(timespec="seconds").encode(),
    "time_local": lambda ended: _time_local(ended.at).encode(),
    "upstream_addr": _each_try(lambda ended, one: one.server.encode()),
    "upstream_bytes_received": _each_try(lambda ended, one: b"%d" % (ended.bytes_down if one.accepted else 0)),
    "upstream_bytes_sent": _each_try(
        lambda ended, one: b"%d" % (ended.bytes_up - ended.unsent_up + one.header if one.accepted else 0)
    ),
    "upstream_connect_time": _each_try(_connect_time),
    "upstream_first_byte_time": _each_try(_first_byte_time),
    "upstream_session_time": _each_try(_session_time),
}
_NOBODY: Final = Worker("", 0)


def knowing(worker: Worker, *texts: str) -> Worker:
    """``worker`` that knows all variables in the texts: those that it knew not are empty."""
    known = session_variables(worker)
    strange = {name: None for text in texts for name in mentioned(text) if name not in known}
    return worker._replace(own=(*worker.own, *(Own(name, None) for name in strange)))


def compile_key(text: str, worker: Worker = _NOBODY) -> Expression[Client]:
    """A hash key. Raises :class:`ValueFault`, saying what would be right."""
    later = {*_ENDED, *(own.name for own in worker.own)}
    return Expression(text, client_variables(worker), later=later)


def compile_answer(text: str, worker: Worker = _NOBODY) -> Expression[Ended]:
    """What ``return`` says. Raises :class:`ValueFault`, saying what would be right."""
    return Expression(text, session_variables(worker))
