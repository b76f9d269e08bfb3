"""The control process: decides each server's state, answers on admin.sock, on the configured health endpoints and,
where that is wanted, on the admin side over TCP.

Its main thread is the :class:`~kubelb.control.loop.Loop` on which everything is decided; it reads the supervisor's
channel and is the only one that writes to it. HTTP is answered on the threads of :class:`kubelb.control.admin.Admin`,
which owns the listening sockets: they read the newest snapshot, and have commands carried out by the loop. What may
take long, a reload, is done on the thread of whoever asks for it. The operator's configuration is read by the
supervisor's reader, never here; what is read here are the files of probes.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from kubelb import log, stats
from kubelb.config.model.config import Config
from kubelb.config.toml.reader import parse_toml
from kubelb.config.virtual import Virtual
from kubelb.control import commands, status
from kubelb.control.admin import Admin, Operations
from kubelb.control.census import Census
from kubelb.control.commands import Command, CommandFault, Drain, Reply
from kubelb.control.discoverer import Discoverer
from kubelb.control.following import await_workers
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.logthread import LogThread
from kubelb.control.loop import BusyFault, Loop
from kubelb.control.reloads import Reloads
from kubelb.control.sessions import EVERYBODYS, Inquiry, Sessions
from kubelb.control.upgrades import UNDER_WAY, Upgrades
from kubelb.control.web import Views
from kubelb.deadlines import BEAT, USUAL, Deadlines
from kubelb.discovery.targets import Target
from kubelb.logqueue import LogQueue
from kubelb.reasons import reason
from kubelb.signals import SignalPipe
from kubelb.snapshot import Snapshot
from kubelb.wire.channel import Channel, close_all
from kubelb.wire.message_sets import FromControl, ToControl
from kubelb.wire.messages import (
    Configuration,
    LogOpened,
    NoConfiguration,
    PoolsChanged,
    Quit,
    Ready,
    Reload,
    Reopen,
    Retire,
    SessionList,
    Sighting,
    Stalled,
    Stop,
    Upgrade,
    Upgraded,
)
from kubelb.wire.outbox import SHORTAGE, Outbox

_LAST_WORDS = 2.0
"""Seconds that answers may take to be fetched, once this process is to end."""
_LOOK = 0.02
"""Seconds between two looks whether they have been."""


@dataclass(frozen=True)
class Setup:
    """What the supervisor gives the control process on its way."""

    channel: Channel[ToControl]
    table: stats.Table
    row: stats.Row
    """Control's own: it writes there when a probe has passed."""
    config: Config
    """What the proxy was started with."""
    reloaded: str | None
    """The TOML of what it runs with since a reload; None: there was none."""
    snapshot: Snapshot
    admin: socket.socket
    """AF_UNIX, listening."""
    http: tuple[tuple[socket.socket, Virtual], ...]
    """Each listening TCP socket and what is served on it."""
    web: socket.socket | None
    """Of the admin side over TCP; None: it is not wanted."""
    pid: int
    """The supervisor's."""
    upgrade_under_way: bool
    """Another one is about to take its place."""
    log_queue: LogQueue
    """What is to be written to the log."""
    terminated: SignalPipe | None
    """Of SIGTERM; None: that ends the process by itself. Control's own."""
    deadlines: Deadlines = USUAL


def run(setup: Setup) -> None:
    """Until the supervisor says so or is gone."""
    log_thread = LogThread(setup.log_queue)
    try:
        control = _Control(setup, log_thread)
        control.run()
    except Exception:
        log_thread.write_out()
        raise
    if control.orphaned:
        log_thread.write_for_others()
    else:
        log_thread.stop()


class _Control:
    def __init__(self, setup: Setup, log_thread: LogThread) -> None:
        self.orphaned = False
        """The supervisor is gone."""
        self._setup = setup
        self._log_thread = log_thread
        self._channel = setup.channel
        config = setup.config if setup.reloaded is None else parse_toml(setup.reloaded, "reloaded").config
        self._config = config
        self._loop = Loop()
        pools = config.pools
        self._outbox = Outbox(self._channel)
        self._owing = False
        self._keeper = Keeper(self._loop, setup.snapshot, pools, setup.table, setup.row, self._publish)
        self._leveller = Leveller(self._loop, lambda: self._keeper.snapshot, pools, setup.table, self._send)
        self._discoverer = Discoverer(self._loop, pools, self._found)
        self._census = Census(setup.table, self._say)
        self._upgrades = Upgrades(self._say, setup.upgrade_under_way)
        self._reloads = Reloads(
            self._loop,
            self._say,
            self._keeper,
            self._leveller,
            self._discoverer,
            setup.row,
            self._upgrades,
            self._follow,
            self._await_workers,
            setup.deadlines.read,
        )
        self._admin: Admin | None = None

    def run(self) -> None:
        setup = self._setup
        log.set_levels(setup.snapshot.log.levels)
        if setup.terminated is not None:
            self._loop.watch(setup.terminated.fileno(), selectors.EVENT_READ, self._end_at_once)
        self._loop.watch(self._channel.fileno(), selectors.EVENT_READ, self._told)
        clients = lambda: status.clients(setup.table)  # noqa: E731
        side = None if setup.web is None else (setup.web, self._views())
        operations = Operations(
            status=self._status,
            command=self._command,
            reload=self._reloads.reload,
            upgrade=self._upgrades.upgrade,
            sessions=self._sessions,
            stop=self._stop,
        )
        self._admin = Admin(setup.admin, setup.http, operations, clients, side)
        self._follow(self._config, setup.snapshot)
        with self._admin:
            self._send(Ready())
            self._keeper.start()
            self._leveller.start()
            self._discoverer.start()
            self._beat()
            self._loop.run()
        self._discoverer.stop()
        self._keeper.stop()
        if setup.terminated is not None:
            setup.terminated.close()
        self._loop.close()

    def _beat(self) -> None:
        """Now and then: this loop does its work."""
        now = time.monotonic()
        self._setup.row.put(0, stats.Count.BEAT, int(now * 1e9))
        self._loop.at(now + BEAT, self._beat)

    def _follow(self, config: Config, snapshot: Snapshot) -> None:
        """On the main thread: what of a configuration is the health endpoints' and may change."""
        if self._admin is not None:
            self._admin.see(config.http, snapshot.request_logs)

    def _end_at_once(self) -> None:
        """By the signal that was sent, but for what is still to be written to the access logs, and not amid a line of
        the log."""
        if self._admin is not None:
            self._admin.write_out()
        self._log_thread.stop()
        if self._setup.terminated is not None:
            self._setup.terminated.close()
        os.kill(os.getpid(), signal.SIGTERM)

    def _told(self) -> None:
        try:
            message, fds = self._channel.receive_with_fds()
        except BlockingIOError:
            return
        if isinstance(message, LogOpened):
            self._replace_log(message.index, fds)
        close_all(fds)
        self._do(message)

    def _replace_log(self, index: int, fds: list[int]) -> None:
        """The descriptor is taken out; there is none where this process may have no more."""
        if fds:
            self._log_thread.replace(index, fds.pop())
        else:
            log.get().error("log_not_reopened", file=log.outlets().files()[index], reason=reason(errno.EMFILE))

    def _do(self, message: ToControl | None) -> None:
        if isinstance(message, Sighting | Stalled):
            self._keeper.sighted(message)
        elif isinstance(message, SessionList):
            self._census.told(message)
        elif isinstance(message, Configuration | NoConfiguration):
            self._reloads.answered(message)
        elif isinstance(message, Upgrade):
            self._upgrades.begun()
        elif isinstance(message, Upgraded):
            self._upgrades.ended(message)
        elif isinstance(message, Retire):
            self._retire()
        elif isinstance(message, Reopen):
            self._reopen()
        elif isinstance(message, Reload):
            threading.Thread(target=self._reloads.reload_quietly, name="reload", daemon=True).start()
        elif isinstance(message, Stop | None):
            self.orphaned = message is None
            self._loop.unwatch(self._channel.fileno())
            self._leave(time.monotonic() + _LAST_WORDS)

    def _reopen(self) -> None:
        if self._admin is not None:
            self._admin.reopen()

    def _retire(self) -> None:
        """Another control decides from now on, and answers; who has been heard here still gets an answer."""
        self._keeper.stop()
        self._leveller.stop()
        self._discoverer.stop()
        if self._admin is not None:
            self._admin.accept_no_more()

    def _leave(self, deadline: float) -> None:
        """Once nobody waits for an answer any more."""
        if self._admin is None or not self._admin.busy or time.monotonic() >= deadline:
            self._loop.stop()
        else:
            self._loop.at(time.monotonic() + _LOOK, lambda: self._leave(deadline))

    def _publish(self, snapshot: Snapshot) -> None:
        self._send(PoolsChanged(snapshot.generation, snapshot.version, snapshot.pools))

    def _status(self) -> status.Status:
        """From any thread."""
        return self._status_of(self._keeper.snapshot)

    def _status_of(self, snapshot: Snapshot) -> status.Status:
        setup = self._setup
        return status.status(snapshot, setup.table, setup.pid, time.monotonic_ns(), time.time())

    def _sessions(self, asked: Inquiry) -> Sessions:
        """From any thread. Raises :class:`CommandFault`."""
        slots = None if asked == EVERYBODYS else commands.chosen(self._keeper.snapshot, asked.server, asked.pool)
        return self._census.ask(slots, lambda: self._keeper.snapshot)

    def _stop(self, how: commands.Stop) -> None:
        """From any thread."""
        self._say(Quit(how.gracefully))

    def _views(self) -> Views:
        # Only here: they take 8 MB, which nobody has to spare who does not want to look.
        from kubelb.control.metrics import exposition
        from kubelb.control.processes import usages
        from kubelb.control.site import Site
        from kubelb.control.tally import tally

        setup = self._setup

        def metrics() -> bytes:
            snapshot, began = self._keeper.snapshot, time.time() - time.monotonic()
            counted = tally(snapshot, setup.table, began)
            return exposition(self._status_of(snapshot), counted, usages(setup.pid, setup.table))

        site = Site(self._loop, setup.pid, lambda: self._keeper.snapshot, self._status)
        site.start()
        return Views(
            page=site.document,
            fragment=site.fragment,
            snapshot=lambda: self._keeper.snapshot,
            status=self._status,
            metrics=metrics,
        )

    def _found(self, pool: str, name: str, targets: Sequence[Target]) -> bool:
        """Whether that can be gone by: while there is an upgrade, the next supervisor knows the members already."""
        return not self._upgrades.under_way and self._keeper.found(pool, name, targets)

    def _command(self, command: Command) -> Reply:
        """From any thread. Raises :class:`CommandFault`."""
        if self._upgrades.under_way:
            raise CommandFault(UNDER_WAY)
        try:
            reply, version = self._loop.ask(lambda: self._carry_out(command))
        except BusyFault as late:
            raise CommandFault(str(late)) from None
        return msgspec.structs.replace(reply, warnings=(*reply.warnings, *self._await_workers(version)))

    def _carry_out(self, command: Command) -> tuple[Reply, int]:
        """And the version of the snapshot that says so."""
        before = self._keeper.snapshot
        self._keeper.drain(commands.apply(before, command), isinstance(command, Drain))
        return commands.reply(command, before, self._status()), self._keeper.snapshot.version

    def _await_workers(self, version: int) -> tuple[str, ...]:
        setup = self._setup
        return await_workers(setup.table, setup.pid, version, setup.deadlines.follow)

    def _say(self, message: FromControl) -> None:
        """To the supervisor, from any thread."""
        self._loop.post(lambda: self._send(message))

    def _send(self, message: FromControl) -> None:
        """To the supervisor, on the loop; later, where something is short here."""
        self._outbox.send(message)
        self._settle_later()

    def _settle_later(self) -> None:
        if self._outbox.owes and not self._owing:
            self._owing = True
            self._loop.at(time.monotonic() + SHORTAGE, self._settle)

    def _settle(self) -> None:
        self._owing = False
        self._outbox.flush()
        self._settle_later()
