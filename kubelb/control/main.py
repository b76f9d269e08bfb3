"""The control process: decides each server's state, answers on admin.sock and on the configured health endpoints.

Its main thread is the :class:`~kubelb.control.loop.Loop` on which everything is decided; it reads the supervisor's
channel and is the only one that writes to it. HTTP is answered on the threads of :class:`kubelb.control.admin.Admin`,
which owns the listening sockets: they read the newest snapshot, and post commands to the loop.
"""

from __future__ import annotations

import queue
import selectors
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from kubelb import stats
from kubelb.config.model import HttpServer, Pool
from kubelb.control import commands, status
from kubelb.control.admin import Admin
from kubelb.control.commands import Command, CommandFault, Drain, Reply
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.loop import Loop
from kubelb.snapshot import Snapshot
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Ready, Sighting, SnapshotChanged, Stop

_PATIENCE = 10.0
"""Seconds that a command may take."""


@dataclass(frozen=True)
class Setup:
    """What the supervisor gives the control process on its way."""

    channel: Channel
    table: stats.Table
    row: stats.Row
    """Control's own: it writes there when a probe has passed."""
    pools: Mapping[str, Pool]
    """As configured."""
    snapshot: Snapshot
    admin: socket.socket
    """AF_UNIX, listening."""
    http: tuple[tuple[socket.socket, HttpServer], ...]
    """Each listening TCP socket and what is served on it."""
    pid: int
    """The supervisor's."""


def run(setup: Setup) -> None:
    """Until the supervisor says so or is gone."""
    _Control(setup).run()


class _Control:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._channel = setup.channel
        self._loop = Loop()
        self._keeper = Keeper(self._loop, setup.snapshot, setup.pools, setup.row, self._publish)
        self._leveller = Leveller(
            self._loop, lambda: self._keeper.snapshot, setup.pools, setup.table, self._channel.send
        )

    def run(self) -> None:
        setup = self._setup
        self._loop.watch(self._channel.fileno(), selectors.EVENT_READ, self._told)
        with Admin(setup.admin, setup.http, self._status, lambda: status.clients(setup.table), self._command):
            self._channel.send(Ready())
            self._keeper.start()
            self._leveller.start()
            self._loop.run()
        self._keeper.stop()
        self._loop.close()

    def _told(self) -> None:
        message = self._channel.receive()
        if isinstance(message, Sighting):
            self._keeper.sighted(message)
        elif isinstance(message, Stop | None):
            self._loop.unwatch(self._channel.fileno())
            self._loop.stop()

    def _publish(self, snapshot: Snapshot) -> None:
        self._channel.send(SnapshotChanged(snapshot))

    def _status(self) -> status.Status:
        """From any thread."""
        setup = self._setup
        return status.status(self._keeper.snapshot, setup.table, setup.pid, time.monotonic_ns(), time.time())

    def _command(self, command: Command) -> Reply:
        """From any thread: have the loop carry it out. Raises :class:`CommandFault`."""
        replies: queue.SimpleQueue[Reply | CommandFault] = queue.SimpleQueue()
        self._loop.post(lambda: replies.put(self._carry_out(command)))
        try:
            reply = replies.get(timeout=_PATIENCE)
        except queue.Empty:
            raise CommandFault("control is too busy to answer; try again") from None
        if isinstance(reply, CommandFault):
            raise reply
        return reply

    def _carry_out(self, command: Command) -> Reply | CommandFault:
        before = self._keeper.snapshot
        try:
            self._keeper.drain(commands.apply(before, command), isinstance(command, Drain))
            return commands.reply(command, before, self._status())
        except CommandFault as fault:
            return fault
