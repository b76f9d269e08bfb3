"""Where a name leads to now, and for how long: its addresses, asked of given DNS servers or of whoever the system
asks, or what its SRV records name, asked of given ones.

Blocks, within the time that is given: in control each lookup has a thread of its own. Owns the sockets of a question
until that is answered. A question goes to one server after the other, from a port of the kernel's choice and with a
random identity (RFC 5452), over TCP once an answer does not fit into a datagram (RFC 7766).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from kubelb.config.model.pools import Discovery
from kubelb.config.values import Address
from kubelb.discovery.message import (
    MAX_MESSAGE,
    NO_ERROR,
    NO_SUCH_NAME,
    BadMessage,
    Kind,
    Reply,
    question,
    read_reply,
)
from kubelb.discovery.targets import Target
from kubelb.reasons import ValueFault, reason_of

_ROUNDS: Final = 2
"""How often each server is asked."""
_CODES: Final = {1: "format error", 2: "server failure", 4: "not implemented", 5: "refused"}
"""RFC 1035, 4.1.1."""


_VERSIONS: Final = {Kind.A: 4, Kind.AAAA: 6}


class LookupFault(Exception):
    """There is no answer that could be gone by; its text says why."""


class Found(NamedTuple):
    """At least one address."""

    targets: tuple[Target, ...]
    ttl: int | None
    """Seconds for which that holds; None: nobody said."""
    faults: tuple[str, ...] = ()
    """Why the addresses of some targets could not be found out, or not those of each kind."""


class _Answer(NamedTuple):
    """Addresses, at least one."""

    hosts: tuple[str, ...]
    ttl: int
    """Seconds for which they hold."""
    unsaid: tuple[int, ...]
    """As in :class:`~kubelb.discovery.targets.Target`."""
    faults: tuple[str, ...]
    """Why."""


_NOTHING: Final = _Answer((), 0, (), ())


def look_up(name: str, discovery: Discovery) -> Found:
    """Raises :class:`LookupFault`, also where the name has no address."""
    if discovery.resolver:
        servers = _Servers(discovery.resolver)
        answer = _addresses(name, servers, _kinds(discovery), time.monotonic() + discovery.timeout)
        return Found((Target(answer.hosts, unsaid=answer.unsaid),), answer.ttl, answer.faults)
    return Found((Target(_ask_system(name, _kinds(discovery))),), None)


def look_up_service(name: str, discovery: Discovery) -> Found:
    """What the SRV records of that name lead to (RFC 2782), with addresses of as many targets as can be found out.

    Raises :class:`LookupFault`, also where there is no such record, or no address at all.
    """
    deadline = time.monotonic() + discovery.timeout
    servers = _Servers(discovery.resolver)
    reply = servers.ask(name, Kind.SRV, deadline)
    if not reply.services:
        raise LookupFault("it has no SRV record")
    found, faults = _addresses_of({service.host for service in reply.services}, servers, _kinds(discovery), deadline)
    if not found:
        raise LookupFault(faults[0])
    targets = tuple(
        Target(answer.hosts, service.host, service.port, service.priority, service.weight, answer.unsaid)
        for service in reply.services
        for answer in [found.get(service.host, _NOTHING)]
    )
    return Found(targets, min(reply.ttl, *(answer.ttl for answer in found.values())), tuple(faults))


def _kinds(discovery: Discovery) -> list[Kind]:
    return [kind for kind, wanted in ((Kind.A, discovery.ipv4), (Kind.AAAA, discovery.ipv6)) if wanted]


def _addresses_of(
    names: Iterable[str], servers: _Servers, kinds: Sequence[Kind], deadline: float
) -> tuple[dict[str, _Answer], list[str]]:
    """Of those names that have any, and why the others have none, or not of each kind. None takes more than its
    share of the time."""
    found: dict[str, _Answer] = {}
    faults: list[str] = []
    ordered = sorted(names)
    for i, name in enumerate(ordered):
        now = time.monotonic()
        try:
            found[name] = _addresses(name, servers, kinds, now + max(deadline - now, 0) / (len(ordered) - i))
            faults += (f"{name}: {fault}" for fault in found[name].faults)
        except LookupFault as fault:
            faults.append(f"{name}: {fault}")
    return found, faults


def _addresses(name: str, servers: _Servers, kinds: Sequence[Kind], deadline: float) -> _Answer:
    """Where only one kind can be found out, that will do (``ngx_resolver_process_a``, nginx's
    src/core/ngx_resolver.c): there are name servers that fail on AAAA."""
    replies: list[Reply] = []
    faults: dict[Kind, LookupFault] = {}
    for kind in kinds:
        try:
            replies.append(servers.ask(name, kind, deadline))
        except LookupFault as fault:
            faults[kind] = fault
    hosts = tuple(host for reply in replies for host in reply.addresses)
    if not hosts:
        raise next(iter(faults.values()), LookupFault("it has no address"))
    ttl = min(reply.ttl for reply in replies if reply.addresses)
    unsaid = tuple(_VERSIONS[kind] for kind in faults)
    return _Answer(hosts, ttl, unsaid, tuple(f"{kind.name}: {fault}" for kind, fault in faults.items()))


def _ask_system(name: str, kinds: Sequence[Kind]) -> tuple[str, ...]:
    family = {Kind.A: socket.AF_INET, Kind.AAAA: socket.AF_INET6}[kinds[0]] if len(kinds) == 1 else socket.AF_UNSPEC
    try:
        entries = socket.getaddrinfo(name, 0, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        raise LookupFault(reason_of(error)) from None
    except UnicodeError:
        raise LookupFault("not a host name") from None
    hosts = tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if not hosts:
        raise LookupFault("it has no address")
    return hosts


class _Servers:
    """Whom to ask, for one lookup."""

    def __init__(self, servers: Sequence[Address]) -> None:
        self._servers = list(servers)

    def ask(self, name: str, kind: Kind, deadline: float) -> Reply:
        """What the first server says that says anything. It is asked first from then on, so that a silent one costs
        its time once. Raises :class:`LookupFault`.
        """
        reason = "no answer in time"
        for server, until in _turns(self._servers, deadline):
            try:
                reply = _ask(server, question(int.from_bytes(os.urandom(2), "big"), name, kind), until)
            except TimeoutError:
                reason = f"{server} does not answer"
            except OSError as error:
                reason = f"{server}: {reason_of(error)}"
            except BadMessage as fault:
                reason = f"{server} gives a broken answer: {fault}"
            except ValueFault as fault:
                raise LookupFault(str(fault)) from None
            else:
                if reply.code in (NO_ERROR, NO_SUCH_NAME):
                    self._servers.sort(key=lambda one: one != server)
                    return _existing(reply, server)
                reason = f"{server}: {_CODES.get(reply.code, f'error {reply.code}')}"
        raise LookupFault(reason)


def _existing(reply: Reply, server: Address) -> Reply:
    if reply.code == NO_SUCH_NAME:
        raise LookupFault(f"{server}: no such name")
    return reply


def _ask(server: Address, asked: bytes, deadline: float) -> Reply:
    """Raises :class:`OSError` and :class:`BadMessage`."""
    reply = _over_udp(server, asked, deadline)
    return _over_tcp(server, asked, deadline) if reply.truncated else reply


def _turns(servers: Sequence[Address], deadline: float) -> Iterator[tuple[Address, float]]:
    """Whom to ask, and until when: what is left is shared by those that are still to come."""
    turns = [*servers] * _ROUNDS
    for i, server in enumerate(turns):
        now = time.monotonic()
        if now >= deadline:
            return
        yield server, now + (deadline - now) / (len(turns) - i)


def _over_udp(server: Address, asked: bytes, deadline: float) -> Reply:
    """Raises :class:`OSError` and :class:`BadMessage`. What is no answer to the question is not listened to."""
    with socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        # From then on the kernel lets nobody else's datagrams in.
        sock.connect((server.host, server.port))
        sock.send(asked)
        while True:
            sock.settimeout(_left(deadline))
            reply = read_reply(sock.recv(MAX_MESSAGE), asked)
            if reply is not None:
                return reply


def _over_tcp(server: Address, asked: bytes, deadline: float) -> Reply:
    """Raises :class:`OSError` and :class:`BadMessage`."""
    with socket.socket(_family(server), socket.SOCK_STREAM) as sock:
        sock.settimeout(_left(deadline))
        sock.connect((server.host, server.port))
        sock.sendall(struct.pack(">H", len(asked)) + asked)
        (size,) = struct.unpack(">H", _exactly(sock, 2, deadline))
        reply = read_reply(_exactly(sock, size, deadline), asked)
    if reply is None or reply.truncated:
        raise BadMessage("it is to another question" if reply is None else "it is cut off")
    return reply


def _exactly(sock: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        sock.settimeout(_left(deadline))
        piece = sock.recv(size - len(data))
        if not piece:
            raise BadMessage("it is cut off")
        data += piece
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _family(server: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server.host else socket.AF_INET
