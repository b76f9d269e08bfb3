"""What was found for a configured name, as servers of its pool; pure.

Of SRV records (RFC 2782) those of the best priority that leads anywhere are primaries and all others backups, as
nginx has it (``ngx_stream_upstream_zone_resolve_handler``, src/stream/ngx_stream_upstream_zone_module.c of 1.27.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from kubelb.config.values import Address
from kubelb.snapshot import Server

MAX_WEIGHTS: Final = 4096
"""What the weights that DNS gives the servers of a name may make together: consistent hashing has 160 points for
each, and DNS servers are not to say how much is computed here."""


class Target(NamedTuple):
    """Where a name, or one of its SRV records, leads to."""

    hosts: tuple[str, ...]
    """Addresses; empty: nobody could say, so those it has led to stay."""
    name: str = ""
    """This and all below is what the SRV record says."""
    port: int = 0
    priority: int = 0
    weight: int = 1
    unsaid: tuple[int, ...] = ()
    """Versions of IP: nobody could say which addresses of those it has, so those it has led to stay."""


def servers_of(template: Server, targets: Iterable[Target], known: Sequence[Server], since: float) -> list[Server]:
    """The servers of a name with the settings of ``template``, from ``since`` on, each once, ordered by their names
    and addresses. ``known`` are those it has had.
    """
    if template.found_by:
        return _found_by_service(template, targets, known, since)
    before = [server.address[0] for server in known]
    hosts = sorted({host for target in targets for host in _hosts(target, before)})
    return [msgspec.structs.replace(template, address=(host, template.address[1]), since=since) for host in hosts]


def targets_of(known: Iterable[Server]) -> list[Target]:
    """What has led to these servers of one name, as far as they tell."""
    return [
        Target((server.address[0],), _host(server), server.address[1], int(server.backup), server.weight)
        for server in known
    ]


def _found_by_service(
    template: Server, targets: Iterable[Target], known: Sequence[Server], since: float
) -> list[Server]:
    ends = _ends(targets, known)
    best = min((target.priority for target, _ in ends), default=0)
    if template.backup:
        ends = [(target, host) for target, host in ends if target.priority == best]
    total = sum(_weight(target) for target, _ in ends)
    servers: dict[tuple[object, ...], Server] = {}
    for target, host in ends:
        server = msgspec.structs.replace(
            template,
            name=_name(target),
            address=(host, target.port),
            # One that is configured counts for all (ngx_stream_upstream_zone_resolve_handler).
            weight=template.weight if template.weight != 1 else _scaled(_weight(target), total),
            backup=template.backup or target.priority != best,
            since=since,
        )
        servers.setdefault((server.name, server.address), server)
    return [servers[key] for key in sorted(servers)]


def _ends(targets: Iterable[Target], known: Sequence[Server]) -> list[tuple[Target, str]]:
    """Each target with each of its addresses, the best first."""
    hosts: dict[str, list[str]] = {}
    for server in known:
        hosts.setdefault(server.name, []).append(server.address[0])
    by_worth = sorted(targets, key=lambda target: (target.priority, -target.weight))
    return [(target, host) for target in by_worth for host in _hosts(target, hosts.get(_name(target), ()))]


def _hosts(target: Target, before: Sequence[str]) -> list[str]:
    """Where it leads to; ``before`` is where it has led to."""
    kept = [host for host in before if not target.hosts or (6 if ":" in host else 4) in target.unsaid]
    return [*target.hosts, *kept]


def _name(target: Target) -> str:
    return str(Address(target.name, target.port))


def _host(server: Server) -> str:
    return server.name.rpartition(":")[0]


def _weight(target: Target) -> int:
    """A weight of 0 counts as 1 (``ngx_resolver_process_srv``, src/core/ngx_resolver.c)."""
    return max(target.weight, 1)


def _scaled(weight: int, total: int) -> int:
    return weight if total <= MAX_WEIGHTS else max(weight * MAX_WEIGHTS // total, 1)
