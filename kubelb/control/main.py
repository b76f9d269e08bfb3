"""The control process: answers on admin.sock and on the configured health endpoints.

Its main thread waits for the supervisor's word; everything else happens on the threads of
:class:`kubelb.control.admin.Admin`, which owns the listening sockets. The channel is the main thread's.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from kubelb import stats
from kubelb.config.model import HttpServer
from kubelb.control import status
from kubelb.control.admin import Admin
from kubelb.snapshot import Snapshot
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Ready, Stop


@dataclass(frozen=True)
class Setup:
    """What the supervisor gives the control process on its way."""

    channel: Channel
    table: stats.Table
    snapshot: Snapshot
    admin: socket.socket
    """AF_UNIX, listening."""
    http: tuple[tuple[socket.socket, HttpServer], ...]
    """Each listening TCP socket and what is served on it."""
    pid: int
    """The supervisor's."""


def run(setup: Setup) -> None:
    """Until the supervisor says so or is gone."""

    def current() -> status.Status:
        return status.status(setup.snapshot, setup.table, setup.pid, time.monotonic_ns())

    with Admin(setup.admin, setup.http, current, lambda: status.clients(setup.table)):
        setup.channel.send(Ready())
        while not isinstance(setup.channel.receive(), Stop | None):
            pass
