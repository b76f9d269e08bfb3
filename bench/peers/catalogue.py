"""The peers there are: add a file for a new one, and a line here."""

from __future__ import annotations

from bench.peers.kubelb import Kubelb
from bench.peers.nginx import Nginx
from bench.peers.peer import Peer

BASELINE: Peer = Nginx()

VARIANTS: tuple[Peer, ...] = (
    Kubelb("default"),
    Kubelb("pin", "pin = true"),
    Kubelb("per-connection", 'threads = "per-connection"'),
)
"""Measured unless others are named."""

SUBJECTS: tuple[Peer, ...] = (*VARIANTS, Nginx("nginx-itself"))
"""All that can be named."""
