"""The same server for the same key: ``hash KEY`` and ``hash KEY consistent``; pure.

Both give nginx's answer for the same key and the same configured servers
(src/stream/ngx_stream_upstream_hash_module.c), so a fleet can change over node by node and keep its affinity.
Both look at most 21 places for an eligible server, then take turns, as they do for an empty key.

Primaries and backups are hashed apart, each among their own: what is eligible is always of one kind
(:func:`kubelb.balance.eligible.eligible`), and a spare must not move the keys of the others.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from zlib import crc32

from kubelb.balance.round_robin import RoundRobin
from kubelb.snapshot import Server

_PLACES = 21
_POINTS_PER_WEIGHT = 160


class Hash:
    """Cache::Memcached's hash: the key's number modulo all weights. Any change of the servers moves most keys."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._turns = RoundRobin(servers)
        self._backup = [server.backup for server in servers]
        self._tiers = [_shares(servers, backup) for backup in (False, True)]

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        if len(eligible) == 1:
            return eligible[0]
        if not key:
            return self._turns.turn(eligible)
        positions, ends = self._tiers[self._backup[eligible[0]]]
        number = 0
        for rehash in range(_PLACES):
            text = b"%d%b" % (rehash, key) if rehash else key
            number += crc32(text) >> 16 & 0x7FFF
            position = positions[bisect_right(ends, number % ends[-1])]
            if position in eligible:
                return position
        return self._turns.turn(eligible)


class ConsistentHash:
    """Cache::Memcached::Fast's ketama: a removed server moves its own keys only, an added one takes its share."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._turns = RoundRobin(servers)
        self._backup = [server.backup for server in servers]
        self._tiers = [_Ring(servers, backup) for backup in (False, True)]

    def pick(self, eligible: Sequence[int], conns: Sequence[int], key: bytes, rng: random.Random) -> int:
        if len(eligible) == 1:
            return eligible[0]
        if not key:
            return self._turns.turn(eligible)
        ring = self._tiers[self._backup[eligible[0]]]
        first = bisect_left(ring.hashes, crc32(key))
        for place in range(first, first + _PLACES):
            owners = [position for position in ring.owners(place) if position in eligible]
            if owners:
                return self._turns.turn(owners)
        return self._turns.turn(eligible)


class _Ring:
    """Points on the circle of 32-bit numbers, 160 a weight; each belongs to all servers of one name.

    A point is the crc32 of host, a zero byte, port and the point before it (little-endian). So the points of a
    light server are the first of those it would have with more weight, and servers of one name share theirs.
    """

    def __init__(self, servers: Sequence[Server], backup: bool) -> None:
        named: dict[tuple[str, str], list[int]] = {}
        for position, server in enumerate(servers):
            if server.backup == backup:
                named.setdefault(_hashed(server), []).append(position)
        points: dict[int, int] = {}
        for group, (name, positions) in enumerate(named.items()):
            for point in _points(*name, max(servers[position].weight for position in positions)):
                points.setdefault(point, group)
        self.hashes = array("I", sorted(points))
        self._groups = array("I", [points[point] for point in self.hashes])
        self._positions = list(named.values())

    def owners(self, place: int) -> list[int]:
        """The positions that share the point at ``place``, which may lie past the end: the circle is closed."""
        return self._positions[self._groups[place % len(self._groups)]]


def _hashed(server: Server) -> tuple[str, str]:
    """Host and port as ``ngx_stream_upstream_update_chash`` has them: of a unix socket the path, of an SRV record the
    host, both without a port."""
    if server.name.startswith("unix:"):
        return server.name[5:], ""
    host, _, port = server.name.rpartition(":")
    return host, "" if server.found_by else port


def _points(host: str, port: str, weight: int) -> list[int]:
    base, points, point = crc32(b"%b\0%b" % (host.encode(), port.encode())), [], 0
    for _ in range(weight * _POINTS_PER_WEIGHT):
        point = crc32(point.to_bytes(4, "little"), base)
        points.append(point)
    return points


def _shares(servers: Sequence[Server], backup: bool) -> tuple[list[int], list[int]]:
    """The positions of one kind, and where the share of each ends on the line of all their weights."""
    positions = [position for position, server in enumerate(servers) if server.backup == backup]
    return positions, list(accumulate(servers[position].weight for position in positions))
