"""Which servers of a pool may be picked for a session; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kubelb.snapshot import Server, State

_RANKS: dict[State, int] = {"unknown": 0, "up": 0, "suspect": 1, "draining": 2, "down": 3}
"""A better rank is used as long as it has anybody: doubt may pass, a draining server still serves, and probes that
call every server down may be what is broken."""
_FAILING = _RANKS["suspect"]


def eligible(
    servers: Sequence[Server], conns: Sequence[int], failing: Collection[int], tried: Collection[int]
) -> list[int]:
    """The positions to pick from, ascending and all of one kind; empty when nothing is left.

    ``conns`` are live sessions by position, ``failing`` the positions that the passive rules leave out
    (:mod:`kubelb.balance.passive`), ``tried`` those that this session has tried already.

    Of the servers of the best rank primaries come first, those of the lowest tier, and backups when no primary is
    left. One that is disabled, drained by the operator, removed, or has ``max_conns`` sessions is never among them.
    """
    left = [
        position
        for position, server in enumerate(servers)
        if server.may_be_picked
        and position not in tried
        and (not server.max_conns or conns[position] < server.max_conns)
    ]
    ranks = {position: _rank(servers[position], position in failing) for position in left}
    best = min(ranks.values(), default=0)
    return _best_kind(servers, [position for position in left if ranks[position] == best])


def _rank(server: Server, failing: bool) -> int:
    return max(_RANKS[server.state], _FAILING if failing else 0)


def _best_kind(servers: Sequence[Server], positions: list[int]) -> list[int]:
    chosen = [position for position in positions if not servers[position].backup] or positions
    tier = min((servers[position].tier for position in chosen), default=0)
    return [position for position in chosen if servers[position].tier == tier]
