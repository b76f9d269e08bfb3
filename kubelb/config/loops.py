"""Servers that are listeners of the same proxy, and lead sessions back to the pool that they come from; pure.

Each client of such a pool makes sessions without end. A listener whose sessions go on to another pool may well be a
server: that is a chain. A listener whose pool depends on the client is passed over: nobody can say where it leads.
"""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from kubelb.config.values import Address, is_numeric, same_host
from kubelb.inet import packed_host, unmapped

IsLocal = Callable[[str], bool]
"""Tells whether an IP address is this machine's own."""

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a connection to the unspecified address comes to (ip(7))."""


class Listened(NamedTuple):
    """An address that is listened on."""

    address: Address
    pool: str
    """The pool that all its sessions go to."""
    takes_ipv4: bool = False
    """Whether an IPv6 address takes IPv4, too."""


class Ways:
    """Where sessions go from each pool."""

    def __init__(
        self, listened: Sequence[Listened], servers: Mapping[str, Sequence[Address]], is_local: IsLocal
    ) -> None:
        """``servers`` are those of each pool. ``is_local`` is asked only for addresses at whose port a listener takes
        what is sent to any address of the machine."""
        self._listened = listened
        self._servers = servers
        self._is_local = is_local

    def back(self, server: Address, pool: str) -> tuple[Address, ...]:
        """The listeners through which this server leads a session of the pool back to the pool, in order; empty: it
        does not lead back."""
        ways = deque[tuple[Listened, ...]]((one,) for one in self._behind(server))
        seen = set[str]()
        while ways:
            way = ways.popleft()
            reached = way[-1].pool
            if reached == pool:
                return tuple(one.address for one in way)
            if reached not in seen:
                seen.add(reached)
                ways += ((*way, one) for other in self._servers.get(reached, ()) for one in self._behind(other))
        return ()

    def _behind(self, server: Address) -> Iterator[Listened]:
        """The listeners that take a connection to this address; there is at most one where all can be bound."""
        return (one for one in self._listened if _takes(one, server, self._is_local))


def is_loopback(host: str) -> bool:
    """Whether every machine has this IP address for itself."""
    return ip_address(_packed(host)[0]).is_loopback


def told(server: Address, way: Sequence[Address]) -> str:
    """What is wrong with a server that leads back by this way."""
    where = "" if str(way[0]) == str(server) else f" ({way[0]})"
    through = f", through {' and '.join(map(str, way[1:]))}" if way[1:] else ""
    return f"{server} is listened on here{where}, and leads back to this pool{through}"


def _takes(listened: Listened, server: Address, is_local: IsLocal) -> bool:
    """Whether a connection to the server's address comes to the listener."""
    listener = listened.address
    if listener.path is not None and server.path is not None:
        return posixpath.normpath(listener.path) == posixpath.normpath(server.path)
    if listener.port != server.port or not (is_numeric(listener.host) and is_numeric(server.host)):
        return False
    host = _LOOPBACK.get(same_host(server.host), server.host)
    own, other = _packed(listener.host), _packed(host)
    if own == other:
        return True
    takes_all = not any(own[0]) and (len(own[0]) == len(other[0]) or listened.takes_ipv4)
    return takes_all and (is_loopback(host) or is_local(host))


def _packed(host: str) -> tuple[bytes, str]:
    """An address and its scope."""
    return unmapped(packed_host(host)), host.partition("%")[2]
