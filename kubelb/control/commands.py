"""What an operator can have done to the running proxy: commands as values, whom they are for, and the reply; pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kubelb.config.values import Address, parse_address, same_host
from kubelb.control.status import Pool, Server, Status
from kubelb.snapshot import GOOD, Snapshot, State


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    server: str
    """A server's name as configured, or its address; a name means all its addresses."""
    pool: str | None = None
    """None: in whatever pool it is."""


class Drain(_Command, frozen=True):
    """No new session for a server; those it has may stay for its pool's ``drain_timeout``, then they are reset."""


class Undrain(_Command, frozen=True):
    """The server is used again, as far as its state allows it."""


Command = Drain | Undrain


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The proxy is to end."""

    gracefully: bool = False
    """Its sessions may end first, for at most ``shutdown_timeout``."""


class CommandFault(Exception):
    """It is for nobody. The text is one line for the operator, with whom it could have been for."""


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """A server the command was for, as it is now."""

    name: str
    """As configured."""
    pool: str
    address: str
    """``host:port``, numeric; IPv6 in brackets."""
    state: State
    active: int
    """Sessions alive now."""
    changed: bool
    """False: it was drained already, or had not been."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a command. Encoded as JSON it is the answer on admin.sock."""

    servers: tuple[Affected, ...]
    warnings: tuple[str, ...]
    """What the operator may not have thought of, a line each."""


def apply(snapshot: Snapshot, command: Command) -> frozenset[int]:
    """The slots of the servers it is for. Raises :class:`CommandFault` where there are none."""
    return chosen(snapshot, command.server, command.pool)


def chosen(snapshot: Snapshot, name: str | None, pool_name: str | None) -> frozenset[int]:
    """The slots of the servers that are called so, or have that address, in that pool; None: any.

    Raises :class:`CommandFault` where there are none.
    """
    pools = [pool for pool in snapshot.pools if pool_name in (None, pool.name)]
    if not pools:
        raise CommandFault(f'no pool "{pool_name}"; there are: {", ".join(pool.name for pool in snapshot.pools)}')
    servers = [server for pool in pools for server in pool.servers]
    if name is None:
        return frozenset(server.slot for server in servers)
    wanted = _form(name)
    slots = frozenset(
        server.slot for server in servers if wanted in (_form(server.name), _form(str(Address(*server.address))))
    )
    if not slots:
        where = "" if pool_name is None else f' in pool "{pool_name}"'
        known = dict.fromkeys(text for server in servers for text in (server.name, str(Address(*server.address))))
        raise CommandFault(f'no server "{name}"{where}; there are: {", ".join(known)}')
    return slots


def reply(command: Command, before: Snapshot, after: Status) -> Reply:
    """``before`` is the snapshot from before the command, ``after`` the status once it is done.

    Raises :class:`CommandFault` as :func:`apply` does.
    """
    slots = apply(before, command)
    servers: list[Affected] = []
    warnings: list[str] = []
    for old, pool in zip(before.pools, after.pools, strict=True):
        affected = [
            _affected(command, pool, server, was.drained)
            for was, server in zip(old.servers, pool.servers, strict=True)
            if was.slot in slots
        ]
        servers += affected
        if affected and isinstance(command, Drain):
            warnings += _warnings(pool)
    return Reply(servers=tuple(servers), warnings=tuple(warnings))


def _affected(command: Command, pool: Pool, server: Server, was_drained: bool) -> Affected:
    return Affected(
        name=server.name,
        pool=pool.name,
        address=server.address,
        state=server.state,
        active=server.active,
        changed=was_drained != isinstance(command, Drain),
    )


def _warnings(pool: Pool) -> Iterator[str]:
    left = [server for server in pool.servers if not server.drained and server.state != "disabled"]
    if not left:
        yield f"pool {pool.name} has no other server: its new sessions are refused"
    elif not any(server.state in GOOD and not server.failing for server in left):
        states = ", ".join(f"{server.address} is {_trouble(server)}" for server in left)
        yield f"pool {pool.name} has no other server that is up: {states}"


def _trouble(server: Server) -> str:
    return "failing" if server.state in GOOD else server.state


def _form(text: str) -> str:
    """A text that is equal for addresses that are the same; ``text`` itself where it is no address."""
    try:
        address = parse_address(text)
    except ValueError:
        return text
    return str(Address(same_host(address.host), address.port))
