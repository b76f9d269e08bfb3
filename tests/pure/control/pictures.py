"""Servers and pictures of them, as the status page gets them."""

from __future__ import annotations

from typing import Any

from kubelb.control.history import History
from kubelb.control.page import Picture
from kubelb.control.status import Clients, Pool, Server, Status
from kubelb.snapshot import Listener, Snapshot
from kubelb.snapshot import Pool as SnapshotPool
from kubelb.snapshot import Server as SnapshotServer

NOON = 1.8e9
"""A moment, in Unix seconds."""


def a_server(name: str = "10.0.0.1:6443", **fields: Any) -> Server:
    """One that is up and quiet, unless ``fields`` say otherwise."""
    quiet = dict.fromkeys(("active", "opened", "bytes_up", "bytes_down", "dial_failures", "resets", "tier"), 0)
    unmarked = dict.fromkeys(("backup", "drained", "failing", "ramping"), False)
    usual = {"address": name, "state": "up", "since": NOON - 100, "reason": "", "probe": None}
    return Server(**{**quiet, **unmarked, **usual, **fields}, name=name)


def a_status(*servers: Server, pool: str = "api") -> Status:
    return Status(
        version="1.2.3",
        pid=42,
        snapshot=7,
        clients=Clients(active=3, accepted=12345),
        pools=(Pool(name=pool, balance="least_conn", servers=servers),),
    )


def a_picture(*servers: Server, pool: str = "api", history: History | None = None) -> Picture:
    """Of one pool, which one listener uses."""
    members = tuple(
        SnapshotServer(
            slot=slot, name=server.name, address=("10.0.0.1", 1), state=server.state, drained=server.drained
        )
        for slot, server in enumerate(servers, 1)
    )
    snapshot = Snapshot(
        version=7,
        listeners=(Listener(address="127.0.0.1:6443", pool=pool, connect_timeout=2.0),),
        pools=(SnapshotPool(name=pool, balance="least_conn", hash_key="", servers=members),),
    )
    return Picture(snapshot, a_status(*servers, pool=pool), history or History(), NOON - 7500, NOON)
