"""What the simulated cluster is like, and where its figures come from; pure. Times are seconds."""

from __future__ import annotations

from typing import Final, NamedTuple

SERVERS: Final = 3


class Role(NamedTuple):
    """A client that a node has one connection of, HTTP/2 with many streams (kubernetes#100849)."""

    name: str
    asks: float
    """Requests a second."""
    hears: float
    """Bytes of watches and bookmarks come so often a second."""
    watches: int
    """Streams that are opened again on a new connection, a request each."""


ROLES: Final = (
    Role("kubelet", asks=0.3, hears=0.2, watches=20),
    Role("kube-proxy", asks=0.0, hears=1.0, watches=4),
    Role("CNI agent", asks=0.1, hears=1.0, watches=6),
    Role("CNI controller", asks=0.1, hears=0.2, watches=4),
)
"""A kubelet renews its lease each 10 s (nodeLeaseDurationSeconds 40, renewed at a quarter of it) and patches the
status of its pods; it watches its node, its pods, services and each secret and config map of the pods. kube-proxy
watches services and endpoint slices, which change each second in a cluster of thousands of nodes. A CNI has an agent
and a controller, as Calico's Felix and confd. Each watch also gets a bookmark about once a minute."""

BACKOFF: Final = 0.8
"""A client whose watch has ended waits for 0.8 to 1.6 s, then twice as long up to 30 s (client-go, reflector.go)."""
BACKOFF_LONGEST: Final = 30.0
BACKOFF_FORGOTTEN: Final = 120.0
HANDSHAKE_PATIENCE: Final = 10.0
"""After so long a client gives up a TLS handshake (client-go, transport/cache.go)."""
PING_AFTER: Final = 45.0
"""A client that hears nothing for 30 s sends a PING of HTTP/2, and waits 15 s for the answer (kubernetes#121308)."""

HANDSHAKE: Final = 0.00112
"""CPU seconds of an apiserver for a TLS handshake: a probe on a new connection costs 1.9 ms, on a kept one 0.78 ms
(measured on a kube-apiserver)."""
REQUEST: Final = 0.00078
"""CPU seconds of a probe, and of any other small request."""
ROUND_TRIP: Final = 0.0005

BACKGROUND: Final = 0.4
"""The part of the cores that everybody else keeps busy: controllers, operators, people."""
BACKGROUND_REQUEST: Final = 0.01
"""CPU seconds of one of those requests, on average; exponential."""


class Fleet(NamedTuple):
    """What is simulated."""

    nodes: int = 5000
    cores: int = 32
    """Of an apiserver: kube-up gives one of more than 500 nodes 32 (cluster/gce/config-common.sh)."""
    seed: int = 1
