"""Which sessions are to end so that their clients dial again and reach a less loaded server; pure.

Loads are compared as least_conn compares them, live sessions per weight, because it is the selector that sends the
clients on. Giving each session a place on the server with the least load is Adams's divisor method of apportionment
(Balinski and Young, Fair Representation, 1982). From it a distribution is reached by exchanges: one session of the
server that has the most load without it goes to the one that has the least load without another, as long as

- the first, one session less, is still loaded more than the second; else its client would come straight back;
- the loads of the two are closer together afterwards;
- the loads of all are further apart than the threshold, as a part of their mean.

Nothing goes to and fro. The load that the fullest has without one more session never rises by an exchange, the load
of the emptiest never falls. Who has taken a session has, without it, the load of the emptiest of that time; to give
one it would need more than that of a later time. The same the other way round: who has given one never takes one. And
each exchange makes the sum of conns² / weight smaller, so there is an end.

Other selectors send clients elsewhere too, then it takes more rounds; those that hash send them back.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from kubelb.snapshot import Server


class Closing(NamedTuple):
    """So many idle sessions of a server are to be closed."""

    slot: int
    sessions: int


def level(servers: Sequence[Server], conns: Sequence[int], threshold: float, at_most: int) -> Closing | None:
    """What brings the servers closer together: sessions of the fullest, so many as it has to give, or ``at_most``.

    ``servers`` are those that may be used, of the best kind only (:func:`best`), with ``conns`` their live sessions.
    None: they are close enough, or nothing would help. A server that has ``max_conns`` sessions takes none.
    """
    left = list(conns)
    fullest, count = -1, 0
    while count < at_most and (exchange := _next_exchange(servers, left, threshold)):
        giver, taker = exchange
        left[giver] -= 1
        left[taker] += 1
        if fullest < 0:
            fullest = giver
        count += giver == fullest
    return Closing(servers[fullest].slot, count) if count else None


def _next_exchange(servers: Sequence[Server], conns: Sequence[int], threshold: float) -> tuple[int, int] | None:
    """Whose session is to go to whom."""
    weights = [server.weight for server in servers]
    takers = [position for position, server in enumerate(servers) if _room(server, conns[position])]
    if not takers:
        return None
    # Quotients of small integers are equal as floats exactly if they are equal.
    taker = min(takers, key=lambda position: conns[position] / weights[position])
    giver = max(range(len(servers)), key=lambda position: (conns[position] - 1) / weights[position])
    least = conns[taker] / weights[taker]
    stays = (conns[giver] - 1) / weights[giver] > least
    helps = (conns[giver] - 0.5) / weights[giver] > (conns[taker] + 0.5) / weights[taker]
    spread = max(map(_load, servers, conns)) - least
    return (giver, taker) if stays and helps and spread > threshold * sum(conns) / sum(weights) else None


def _load(server: Server, conns: int) -> float:
    return conns / server.weight


def _room(server: Server, conns: int) -> bool:
    return not server.max_conns or conns < server.max_conns


def best(servers: Sequence[Server]) -> list[int]:
    """The positions of the best kind: primaries before backups, then the lowest tier."""
    kinds = [_kind(server) for server in servers]
    return [position for position, kind in enumerate(kinds) if kind == min(kinds)]


def _kind(server: Server) -> tuple[bool, int]:
    return server.backup, server.tier


def move_back(servers: Sequence[Server], conns: Sequence[int], at_most: int) -> Closing | None:
    """Sessions that are to leave servers of a worse kind than the best, ``at_most``: of the worst, then the fullest.

    ``servers`` are those that may be used, ``conns`` their live sessions. None: there are no such sessions, or the
    best have no room for another.
    """
    chosen = best(servers)
    stray = [position for position in range(len(servers)) if position not in chosen and conns[position]]
    if not stray:
        return None
    source = max(stray, key=lambda position: (_kind(servers[position]), _load(servers[position], conns[position])))
    count = min(at_most, conns[source])
    if all(servers[position].max_conns for position in chosen):
        count = min(count, sum(max(0, servers[position].max_conns - conns[position]) for position in chosen))
    return Closing(servers[source].slot, count) if count else None


def by_row(count: int, sessions: Sequence[int], rng: random.Random) -> tuple[int, ...]:
    """How many of ``count`` sessions each relay thread is to close, given how many it has of that server.

    Each session is as likely as any other to be among them: no thread is asked again and again only because it has
    the most, when all of its own are busy.
    """
    count = min(count, sum(sessions))
    drawn = Counter(rng.sample(range(len(sessions)), count, counts=sessions) if count else ())
    return tuple(drawn[row] for row in range(len(sessions)))
