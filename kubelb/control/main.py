"""The control process: decides each server's state, answers on admin.sock, on the configured health endpoints and,
where that is wanted, on the admin side over TCP.

Its main thread is the :class:`~kubelb.control.loop.Loop` on which everything is decided; it reads the supervisor's
channel and is the only one that writes to it. HTTP is answered on the threads of :class:`kubelb.control.admin.Admin`,
which owns the listening sockets: they read the newest snapshot, and have commands carried out by the loop. What may
take long, reading the configuration anew, is done on the thread of whoever asks for it.
"""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from kubelb import log, stats
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model import Config, HttpServer
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources
from kubelb.config.toml_reader import parse_toml
from kubelb.config.toml_writer import write_toml
from kubelb.control import commands, reloading, status
from kubelb.control.admin import Admin
from kubelb.control.commands import Command, CommandFault, Drain, Reply
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.loop import Loop
from kubelb.control.reloading import Wanted
from kubelb.control.web import Views
from kubelb.discovery.members import TooManyServers
from kubelb.snapshot import Snapshot
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Configured, Message, Ready, Reload, Reloading, Sighting, SnapshotChanged, Stop

_PATIENCE = 10.0
"""Seconds that the loop may take to carry out what it is asked for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """What the supervisor gives the control process on its way."""

    channel: Channel
    table: stats.Table
    row: stats.Row
    """Control's own: it writes there when a probe has passed."""
    sources: Sources
    """Where the configuration is from, with what goes before it: to read it anew."""
    overrides: Overrides
    config: Config
    """What the proxy was started with."""
    reloaded: str | None
    """The TOML of what it runs with since a reload; None: there was none."""
    snapshot: Snapshot
    admin: socket.socket
    """AF_UNIX, listening."""
    http: tuple[tuple[socket.socket, HttpServer], ...]
    """Each listening TCP socket and what is served on it."""
    web: socket.socket | None
    """Of the admin side over TCP; None: it is not wanted."""
    pid: int
    """The supervisor's."""


def run(setup: Setup) -> None:
    """Until the supervisor says so or is gone."""
    _Control(setup).run()


class _Control:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._channel = setup.channel
        self._config = setup.config if setup.reloaded is None else parse_toml(setup.reloaded, "reloaded").config
        self._reloading = threading.Lock()
        self._loop = Loop()
        pools = self._config.pools
        self._keeper = Keeper(self._loop, setup.snapshot, pools, setup.table, setup.row, self._publish)
        self._leveller = Leveller(self._loop, lambda: self._keeper.snapshot, pools, setup.table, self._channel.send)

    def run(self) -> None:
        setup = self._setup
        self._loop.watch(self._channel.fileno(), selectors.EVENT_READ, self._told)
        clients = lambda: status.clients(setup.table)  # noqa: E731
        side = None if setup.web is None else (setup.web, self._views())
        with Admin(setup.admin, setup.http, self._status, clients, self._command, self._reload, side):
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
        elif isinstance(message, Reload):
            threading.Thread(target=self._reload_quietly, name="reload", daemon=True).start()
        elif isinstance(message, Stop | None):
            self._loop.unwatch(self._channel.fileno())
            self._loop.stop()

    def _publish(self, snapshot: Snapshot) -> None:
        self._channel.send(SnapshotChanged(snapshot))

    def _status(self) -> status.Status:
        """From any thread."""
        setup = self._setup
        return status.status(self._keeper.snapshot, setup.table, setup.pid, time.monotonic_ns(), time.time())

    def _views(self) -> Views:
        # Only here: they take 8 MB, which nobody has to spare who does not want to look.
        from kubelb.control.metrics import exposition
        from kubelb.control.processes import usages

        setup = self._setup
        threads = setup.config.threads if isinstance(setup.config.threads, int) else 1
        return Views(
            snapshot=lambda: self._keeper.snapshot,
            status=self._status,
            metrics=lambda: exposition(self._status(), usages(setup.pid, setup.table, threads)),
        )

    def _on_the_loop(self, call: Callable[[], T]) -> T:
        """From any other thread: what ``call`` gives there, or raises of a :class:`CommandFault`."""
        answers: queue.SimpleQueue[T | CommandFault] = queue.SimpleQueue()

        def answer() -> None:
            try:
                answers.put(call())
            except CommandFault as fault:
                answers.put(fault)

        self._loop.post(answer)
        try:
            found = answers.get(timeout=_PATIENCE)
        except queue.Empty:
            raise CommandFault("control is too busy to answer; try again") from None
        if isinstance(found, CommandFault):
            raise found
        return found

    def _command(self, command: Command) -> Reply:
        """From any thread. Raises :class:`CommandFault`."""
        return self._on_the_loop(lambda: self._carry_out(command))

    def _carry_out(self, command: Command) -> Reply:
        before = self._keeper.snapshot
        self._keeper.drain(commands.apply(before, command), isinstance(command, Drain))
        return commands.reply(command, before, self._status())

    def _reload(self) -> tuple[str, ...]:
        """From any thread: read the configuration anew and go by it; the warnings.

        Raises :class:`ConfigFault`, and nothing has changed then.
        """
        with self._a_reload():
            try:
                wanted = reloading.read(self._setup.sources, self._setup.overrides, self._config)
                version = self._go_by(wanted)
            except ConfigFault as error:
                for fault in error.faults:
                    log.get().error("reload_failed", fault=str(fault))
                raise
        for warning in wanted.warnings:
            log.get().warning("setting_without_effect", setting=warning)
        log.get().info("reloaded", snapshot=version)
        return wanted.warnings

    @contextmanager
    def _a_reload(self) -> Iterator[None]:
        """From any thread: one at a time, and the supervisor knows."""
        with self._reloading:
            self._say(Reloading(under_way=True))
            try:
                yield
            finally:
                self._say(Reloading(under_way=False))

    def _say(self, message: Message) -> None:
        """To the supervisor, from any thread."""

        def send() -> None:
            self._channel.send(message)

        self._loop.post(send)

    def _go_by(self, wanted: Wanted) -> int:
        """From any thread: the version of the snapshot that says so. Raises :class:`ConfigFault`."""
        try:
            return self._on_the_loop(lambda: self._change(wanted))
        except CommandFault as fault:
            raise ConfigFault(Fault(what=str(fault))) from None

    def _change(self, wanted: Wanted) -> int:
        try:
            self._keeper.reload(wanted.snapshot, wanted.config.pools)
        except TooManyServers:
            raise CommandFault("too many servers, with those that have not left yet; try again later") from None
        self._leveller.reload(wanted.config.pools)
        self._config = wanted.config
        self._channel.send(Configured(write_toml(wanted.config)))
        return self._keeper.snapshot.version

    def _reload_quietly(self) -> None:
        """What is wrong is in the log."""
        try:
            self._reload()
        except ConfigFault:
            pass
