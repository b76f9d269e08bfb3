"""nginx's own selection in src/stream, line by line, of peers that never failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from zlib import crc32

from kubelb.snapshot import Server

_TRIES = 20


class RoundRobinPeers:
    """``ngx_stream_upstream_get_peer`` in ngx_stream_upstream_round_robin.c."""

    def __init__(self, weights: Sequence[int]) -> None:
        self.weight = weights
        self.effective_weight = list(weights)
        self.current_weight = [0] * len(weights)

    def get_peer(self, usable: Collection[int]) -> int:
        best: int | None = None
        total = 0
        for peer in range(len(self.weight)):
            if peer not in usable:
                continue
            self.current_weight[peer] += self.effective_weight[peer]
            total += self.effective_weight[peer]
            if self.effective_weight[peer] < self.weight[peer]:
                self.effective_weight[peer] += 1
            if best is None or self.current_weight[peer] > self.current_weight[best]:
                best = peer
        assert best is not None
        self.current_weight[best] -= total
        return best


class HashPeers:
    """``ngx_stream_upstream_get_hash_peer`` in ngx_stream_upstream_hash_module.c."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.weight = [server.weight for server in servers]
        self.round_robin = RoundRobinPeers(self.weight)

    def get_peer(self, usable: Collection[int], key: bytes) -> int:
        tries = rehash = total = 0
        if not key:
            return self.round_robin.get_peer(usable)
        while True:
            text = (str(rehash).encode() if rehash > 0 else b"") + key
            total += crc32(text) // 65536 % 32768
            rehash += 1
            left, peer = total % sum(self.weight), 0
            while left >= self.weight[peer]:
                left -= self.weight[peer]
                peer += 1
            if peer in usable:
                return peer
            tries += 1
            if tries > _TRIES:
                return self.round_robin.get_peer(usable)


class ConsistentHashPeers:
    """``ngx_stream_upstream_get_chash_peer`` and what it needs, in the same file; names as they are configured."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.server = [_split(server.name) for server in servers]
        self.round_robin = RoundRobinPeers([server.weight for server in servers])
        points = set[tuple[int, tuple[str, str]]]()
        for server in servers:
            host, port = _split(server.name)
            previous = bytes(4)
            for _ in range(160 * server.weight):
                point = crc32(host.encode() + b"\0" + port.encode() + previous)
                points.add((point, (host, port)))
                previous = bytes(point >> shift & 255 for shift in (0, 8, 16, 24))
        self.points = sorted(points)

    def get_peer(self, usable: Collection[int], key: bytes) -> int:
        if not key:
            return self.round_robin.get_peer(usable)
        place = sum(point < crc32(key) for point, _ in self.points)
        for _ in range(_TRIES + 1):
            _, server = self.points[place % len(self.points)]
            owners = [peer for peer in usable if self.server[peer] == server]
            if owners:
                return self.round_robin.get_peer(owners)
            place += 1
        return self.round_robin.get_peer(usable)


def _split(name: str) -> tuple[str, str]:
    if name[:5] == "unix:":
        return name[5:], ""
    colon = name.rindex(":")
    return name[:colon], name[colon + 1 :]
