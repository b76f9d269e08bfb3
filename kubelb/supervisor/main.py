"""The supervisor: single-threaded parent of control and the workers.

Owns the listening sockets, the shared counters, the newest snapshot and the children. Its loop receives signals
and messages, asks :mod:`kubelb.supervisor.plan` what that means, and does it. It has no policy of its own, starts
no thread, and does nothing that can block.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from kubelb import log
from kubelb.config.model import Config, HttpServer
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources
from kubelb.control import main as control
from kubelb.snapshot import Snapshot
from kubelb.stats import Table
from kubelb.supervisor import children, plan, systemd
from kubelb.supervisor.children import Closable
from kubelb.supervisor.limits import raise_open_files
from kubelb.supervisor.listeners import listen, listen_unix
from kubelb.supervisor.pidfile import PidFile
from kubelb.supervisor.plan import CONTROL, Ending, Phase, Place
from kubelb.supervisor.signals import FAST, GRACEFUL, RELOAD, SignalPipe
from kubelb.supervisor.systemd import Systemd
from kubelb.wire.channel import Channel
from kubelb.wire.messages import (
    Configured,
    Message,
    Ready,
    Release,
    Reload,
    Reloading,
    Sighting,
    SnapshotChanged,
    Stop,
)
from kubelb.worker import main as worker


class Supervisor:
    """One run, from binding to the last child's end."""

    def __init__(self, config: Config, snapshot: Snapshot, sources: Sources, overrides: Overrides) -> None:
        """Takes hold of all it needs. Raises :class:`~kubelb.config.faults.ConfigFault` for what it cannot get.

        ``sources`` and ``overrides`` are what ``config`` is from, for control to read it anew.
        """
        self._config = config
        self._sources = sources
        self._overrides = overrides
        self._reloaded: str | None = None
        self._snapshot = snapshot
        raise_open_files(config.max_open_files)
        runtime_dir = Path(config.runtime_dir)
        self._pidfile = PidFile(runtime_dir)
        with ExitStack() as undo:
            undo.callback(self._pidfile.remove)
            self._listening = [listen(address) for listener in config.listeners for address in listener.listen]
            self._http: list[tuple[socket.socket, HttpServer]] = [
                (listen(address), server) for server in config.http for address in server.listen
            ]
            self._web = listen(config.admin.listen) if config.admin.listen is not None else None
            self._admin_path = runtime_dir / "admin.sock"
            self._admin = listen_unix(self._admin_path)
            undo.pop_all()
        self._cpus = sorted(os.sched_getaffinity(0))
        workers = plan.worker_count(config.workers if isinstance(config.workers, int) else None, len(self._cpus))
        self._threads = config.threads if isinstance(config.threads, int) else 1
        # The last row is control's.
        self._table = Table(workers * self._threads + 1)
        self._signals = SignalPipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ, self._signalled)
        names = [CONTROL, *(plan.worker_name(index) for index in range(workers))]
        self._places = {name: Place(name) for name in names}
        self._channels: dict[str, Channel] = {}
        self._ending = Ending()
        self._announced = False
        self._systemd = Systemd(os.environ, os.getpid())

    def run(self) -> int:
        """Until stopped; the exit status."""
        while not plan.over(self._ending, self._places.values()):
            for place in plan.to_spawn(self._places.values(), self._ending.phase, time.monotonic()):
                self._spawn(place)
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._end_as(plan.escalate(self._ending, self._places.values(), time.monotonic()))
            self._systemd.alive(time.monotonic())
        self._clean_up()
        log.get().info("stopped")
        return 0

    def _patience(self) -> float | None:
        look = plan.next_look(self._places.values(), self._ending)
        due = min(self._systemd.due, math.inf if look is None else look)
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def _spawn(self, place: Place) -> None:
        run = self._control if place.name == CONTROL else self._worker(place.name)
        kept: Sequence[Closable] = self._http_and_admin() if place.name == CONTROL else self._listening
        everything: list[Closable] = [
            self._pidfile,
            *self._listening,
            *self._http_and_admin(),
            *self._channels.values(),
        ]
        pid, channel = children.spawn(
            run,
            place.name,
            self._config.log.level,
            forget=self._signals.forget,
            not_for_it=[self._selector, *(thing for thing in everything if thing not in kept)],
        )
        self._channels[place.name] = channel
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._told(place.name, channel))
        self._places[place.name] = plan.started(place, pid, time.monotonic())

    def _http_and_admin(self) -> list[socket.socket]:
        sockets = [self._admin, *(sock for sock, _ in self._http)]
        return sockets if self._web is None else [*sockets, self._web]

    def _worker(self, name: str) -> Callable[[Channel], None]:
        index = plan.worker_index(name)

        def run(channel: Channel) -> None:
            worker.run(
                worker.Setup(
                    index=index,
                    channel=channel,
                    table=self._table,
                    snapshot=self._snapshot,
                    listening=self._listening,
                    threads=self._threads,
                    share=self._config.threads != "per-connection",
                    cpus=self._cpus,
                    pin=self._config.pin,
                )
            )

        return run

    def _control(self, channel: Channel) -> None:
        control.run(
            control.Setup(
                channel=channel,
                table=self._table,
                row=self._table.row(self._table.rows - 1),
                sources=self._sources,
                overrides=self._overrides,
                config=self._config,
                reloaded=self._reloaded,
                snapshot=self._snapshot,
                admin=self._admin,
                http=tuple(self._http),
                web=self._web,
                pid=os.getppid(),
            )
        )

    def _told(self, name: str, channel: Channel) -> None:
        """A child has said something, or has gone (SIGCHLD tells how). Its place may have been filled since."""
        message = channel.receive()
        current = self._channels.get(name) is channel
        if message is None:
            self._selector.unregister(channel)
            channel.close()
            if current:
                del self._channels[name]
        elif isinstance(message, Ready) and current:
            self._places[name] = plan.ready(self._places[name])
            self._announce()
        elif isinstance(message, SnapshotChanged):
            self._snapshot = message.snapshot
            self._send_workers(message)
            self._show()
        elif isinstance(message, Configured):
            self._reloaded = message.toml
        elif isinstance(message, Reloading):
            self._show_reload(message.under_way)
        elif isinstance(message, Release):
            self._send_workers(message)
        elif isinstance(message, Sighting) and CONTROL in self._channels:
            self._channels[CONTROL].send(message)

    def _announce(self) -> None:
        """Once everybody serves; to systemd again when one is back: it may have died in the middle of a reload."""
        if all(place.ready for place in self._places.values()):
            if not self._announced:
                self._announced = True
                listeners = [listener.address for listener in self._snapshot.listeners]
                log.get().info("started", listeners=listeners, workers=len(self._places) - 1, pid=os.getpid())
            self._show_reload(under_way=False)
        self._show()

    def _show(self) -> None:
        """The status line follows what there is to see, unless a stop is under way: then it says that."""
        if self._ending.phase is Phase.RUNNING:
            self._systemd.status(self._status())

    def _show_reload(self, under_way: bool) -> None:
        """Not while a start or a stop is under way, of which systemd knows."""
        if not self._announced or self._ending.phase is not Phase.RUNNING:
            return
        if under_way:
            self._systemd.reloading()
        else:
            self._systemd.ready(self._status())

    def _status(self) -> str:
        workers = [place.ready for place in self._places.values() if place.name != CONTROL]
        return systemd.describe(self._snapshot, workers)

    def _signalled(self) -> None:
        now = time.monotonic()
        for number in self._signals.receive():
            if number in FAST:
                self._end_as(plan.stop_fast(self._ending, now))
            elif number == GRACEFUL:
                self._end_as(plan.stop_gracefully(self._ending, self._config.shutdown_timeout, now))
            elif number == RELOAD:
                self._reload()
            elif number == signal.SIGCHLD:
                self._bury()
            else:
                name = signal.Signals(number).name
                log.get().warning("signal_ignored", signal=name, instead="restart to change anything")

    def _reload(self) -> None:
        """Control does it, and says how it went."""
        channel = self._channels.get(CONTROL)
        if channel is None or not channel.send(Reload()):
            log.get().error("reload_failed", fault="there is no control process at the moment; try again")

    def _end_as(self, ending: Ending) -> None:
        """Enter the phase of the stop that was decided on, if it is a new one."""
        if ending is self._ending:
            return
        self._ending = ending
        log.get().info("stopping", how=ending.phase.name.lower())
        self._systemd.stopping(ending.phase.name.lower())
        if ending.phase is Phase.DRAINING:
            for sock in self._listening:
                sock.close()
            self._listening = []
            self._send_workers(Stop())
        else:
            self._tell_all(signal.SIGTERM if ending.phase is Phase.STOPPING else signal.SIGKILL)

    def _send_workers(self, message: Message) -> None:
        """One that does not even take its messages is stuck, and is ended to be replaced."""
        for name, channel in self._channels.items():
            pid = self._places[name].pid
            if name != CONTROL and not channel.send(message) and pid is not None:
                log.get().error("child_stuck", child=name, pid=pid)
                os.kill(pid, signal.SIGKILL)

    def _tell_all(self, number: signal.Signals) -> None:
        for place in self._places.values():
            if place.pid is not None:
                os.kill(place.pid, number)

    def _bury(self) -> None:
        """Children have died: forget their live sessions, and note when to replace them."""
        by_pid = {place.pid: place for place in self._places.values()}
        for pid, how in children.reap():
            place = by_pid.get(pid)
            if place is None:
                continue
            self._places[place.name] = plan.died(place, time.monotonic())
            if place.name != CONTROL:
                self._forget_live(plan.worker_index(place.name))
            if self._ending.phase is Phase.RUNNING:
                log.get().error("child_died", child=place.name, pid=pid, how=how)
        self._show()

    def _forget_live(self, index: int) -> None:
        for row in range(index * self._threads, (index + 1) * self._threads):
            self._table.row(row).forget_live()

    def _clean_up(self) -> None:
        for sock in (*self._listening, *self._http_and_admin()):
            sock.close()
        self._admin_path.unlink(missing_ok=True)
        self._pidfile.remove()
        self._table.close()
