"""Which servers of a pool may be picked for a session; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kubelb.snapshot import Server


def eligible(
    servers: Sequence[Server], conns: Sequence[int], failing: Collection[int], tried: Collection[int]
) -> list[int]:
    """The positions to pick from, ascending and all of one kind; empty when nothing is left.

    ``conns`` are live sessions by position, ``failing`` the positions that the passive rules leave out
    (:mod:`kubelb.balance.passive`), ``tried`` those that this session has tried already.

    Primaries come first, backups when no primary is left. If only failing servers are left they are tried after
    all, primaries first: it may be the judgement that is wrong. A server that is down or has ``max_conns``
    sessions is never among them.
    """
    left = [
        position
        for position, server in enumerate(servers)
        if not server.down and position not in tried and (not server.max_conns or conns[position] < server.max_conns)
    ]
    if not failing:
        return _best_kind(servers, left)
    well = [position for position in left if position not in failing]
    return _best_kind(servers, well or left)


def _best_kind(servers: Sequence[Server], positions: list[int]) -> list[int]:
    primaries = [position for position in positions if not servers[position].backup]
    return primaries or positions
