"""The service: the supervisor's children and sockets as one thing, and what they are told.

For the supervisor's only thread. What happens, and when, is decided in :mod:`kubelb.supervisor.main`; this is how it
is done: places filled, children forked, sockets handed to them, snapshots passed on, the dead buried, the end begun.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from socket import socket

import msgspec

from kubelb import log
from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Config, Process
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources
from kubelb.config.toml.reader import parse_toml
from kubelb.control import main as control
from kubelb.deadlines import Deadlines
from kubelb.reasons import reason_of
from kubelb.signals import SignalPipe
from kubelb.snapshot import Snapshot
from kubelb.supervisor import children, plan, reader, systemd
from kubelb.supervisor.children import Closable
from kubelb.supervisor.family import Family, Heard
from kubelb.supervisor.holdings import Holdings
from kubelb.supervisor.image import Image
from kubelb.supervisor.listeners import close_for_good, remove
from kubelb.supervisor.logkeeping import LogKeeping
from kubelb.supervisor.plan import CONTROL, Ending, Phase, Place
from kubelb.supervisor.privileges import allowed, assume, identity
from kubelb.supervisor.reading import Reading
from kubelb.supervisor.reopening import Reopening, open_anew
from kubelb.supervisor.signals import HEARD
from kubelb.supervisor.systemd import Systemd
from kubelb.supervisor.upgrade import Predecessor
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import (
    FROM_CONTROL,
    FROM_LOG_WRITER,
    FROM_OPENER,
    FROM_READER,
    FROM_WORKER,
    TO_CONTROL,
    TO_LOG_WRITER,
    TO_OPENER,
    TO_READER,
    TO_WORKER,
    FromLogWriter,
    FromOpener,
    FromReader,
    ToControl,
    ToLogWriter,
    ToOpener,
    ToReader,
    ToWorker,
)
from kubelb.wire.messages import AT_MOST, Listen, LogOpened, PoolsChanged, Reopen, SnapshotChanged, Stop, Unlisten
from kubelb.worker import main as worker


@dataclass(frozen=True)
class Origin:
    """Where a supervisor is from."""

    image: Image
    sources: Sources
    """What the configuration is from, with what goes before it: to read it anew."""
    overrides: Overrides
    predecessor: Predecessor | None = None
    """In whose place it is to run."""


class Service:
    """``hear`` is called when a child's channel has something, with its pid. It says whether there was anything."""

    def __init__(
        self,
        config: Config,
        origin: Origin,
        held: Holdings,
        deadlines: Deadlines,
        hear: Callable[[int, Heard], bool],
    ) -> None:
        self.config = config
        self.deadlines = deadlines
        self._identity = identity(config.process)
        self.reloaded: str | None = None
        """The TOML of what it runs with since a reload; None: there was none."""
        self.snapshot = held.snapshot
        self.held = held
        self.sockets = held.sockets
        self.family = Family(held.table, held.rows, deadlines)
        self.signals = SignalPipe(HEARD)
        self.selector = selectors.DefaultSelector()
        self.systemd = Systemd(os.environ, os.getpid())
        self.ending = Ending()
        self.serving = origin.predecessor is None
        """Whether this is the one: the pid file is its own, and its workers accept."""
        self.upgrade: Closable | None = None
        """The channel to another supervisor, while there is one."""
        self.upgrade_under_way = False
        """Whether that is to be the next one."""
        self._misbehaved: dict[int, str] = {}
        """Why, by pid: of children that have been ended for that."""
        self.cpus = sorted(os.sched_getaffinity(0))
        self.threads = config.threads if isinstance(config.threads, int) else 1
        """Relay threads of a worker."""
        self._origin = origin
        self._hear = hear
        self.log = LogKeeping(self._fork_log_writer, self.signals, deadlines.last_lines)
        self.reopening = Reopening(self.selector, self._fork_opener, self._log_opened, self._reopen)
        self.reading = Reading(
            self.selector,
            self.sockets,
            self._fork_reader,
            answer=self.family.answer_control,
            answer_at_last=self.family.send_control,
            pause=deadlines.bind,
        )
        self.family.add(CONTROL, 1)
        self.fill(config.workers if isinstance(config.workers, int) else None)

    def fill(self, workers: int | None) -> None:
        """Have places for so many workers; those that are too many leave, their sessions go to the others.

        None: as many as the machine is for.
        """
        self.workers = workers
        wanted = plan.worker_count(workers, len(self.cpus))
        self.family.leave(leaving := self.family.workers()[wanted:])
        self._relocate(leaving)
        self._add_places()

    def _add_places(self) -> None:
        """As far as the rows of the counters go: those that leave may need theirs for as long as clients like."""
        for index in range(len(self.family.workers()), plan.worker_count(self.workers, len(self.cpus))):
            if not index or self.family.has_rows(self.threads):
                self.family.add(plan.worker_name(index), self.threads)

    def _relocate(self, leaving: Iterable[Place]) -> None:
        """Their sessions go to the workers that stay."""
        takers = len(self.family.workers()) * self.threads
        for place in leaving:
            self.family.hand_over(place, takers, self.family.spread)

    def spawn_due(self, now: float) -> None:
        if self.ending.phase is Phase.RUNNING:
            self._add_places()
        due = plan.to_spawn(self.family.places.values(), self.ending.phase, now)
        self._spawn_all(due, now)
        if self.ending.phase is Phase.RUNNING and any(place.name != CONTROL for place in due):
            # Whoever was to take these may have died.
            self._relocate(self.family.leaving)

    def _spawn_all(self, due: Iterable[Place], now: float) -> None:
        for place in due:
            try:
                self._spawn(place, now)
            except OSError as error:
                log.get().error("child_not_started", child=place.name, reason=reason_of(error))
                self.family.not_started(place, now)
                if place.name == CONTROL:
                    self.log.write_here()

    def _spawn(self, place: Place, now: float) -> None:
        pid, channel = self._fork(place)
        children.hear(self.selector, pid, channel, lambda: self._hear(pid, channel))
        place = self.family.started(place, pid, channel, now)
        if place.name != CONTROL and self.serving:
            self._have_listen(place, self.sockets.listening)

    def _fork(self, place: Place) -> tuple[int, Heard]:
        if place.name == CONTROL:
            return children.spawn(
                self._control(place),
                place.name,
                FROM_CONTROL,
                TO_CONTROL,
                self.signals,
                not_for_it=self._all_but([*self.sockets.for_control(), self.log]),
            )
        return children.spawn(
            self._worker(place), place.name, FROM_WORKER, TO_WORKER, self.signals, not_for_it=self._all_but(())
        )

    def _all_but(self, kept: Sequence[Closable]) -> Iterator[Closable]:
        """Of all that is open here."""
        yield self.selector
        yield from [] if self.log in kept else [self.log]
        if self.upgrade is not None:
            yield self.upgrade
        channels: list[Closable] = [*self.family.channels(), *self.reading.channels()]
        channels += [*self.reopening.channels(), *self.log.channels()]
        everything: list[Closable] = [self.held.pidfile, *self.sockets.everything(), *channels]
        yield from (thing for thing in everything if thing not in kept)

    def _worker(self, place: Place) -> Callable[[Channel[ToWorker]], None]:
        index = plan.worker_index(place.name)

        def run(channel: Channel[ToWorker]) -> None:
            assume(self.config.process, self._identity, index)
            worker.run(
                worker.Setup(
                    index=index,
                    channel=channel,
                    table=self.held.table,
                    rows=[self.held.table.row(row) for row in place.rows],
                    snapshot=self.snapshot,
                    share=self.config.threads != "per-connection",
                    cpus=allowed(self.config.process, index, self.cpus),
                    pin=self.config.pin,
                )
            )

        return run

    def _control(self, place: Place) -> Callable[[Channel[ToControl]], None]:
        def run(channel: Channel[ToControl]) -> None:
            assume(self.config.process, self._identity)
            control.run(
                control.Setup(
                    channel=channel,
                    table=self.held.table,
                    row=self.held.table.row(place.rows[0]),
                    config=self.config,
                    reloaded=self.reloaded,
                    snapshot=self.snapshot,
                    admin=self.sockets.admin,
                    http=self.sockets.http,
                    web=self.sockets.web,
                    pid=os.getppid(),
                    upgrade_under_way=self.upgrade_under_way,
                    deadlines=self.deadlines,
                    log_queue=self.log.queue,
                    terminated=SignalPipe([signal.SIGTERM]),
                )
            )

        return run

    def _fork_reader(self) -> tuple[int, Channel[FromReader]]:
        def run(channel: Channel[ToReader]) -> None:
            assume(Process(), None)
            reader.end_after(self.deadlines.read)
            running = self.config if self.reloaded is None else parse_toml(self.reloaded, "reloaded").config
            channel.send_at_last(reader.read(self._origin.sources, self._origin.overrides, running))

        return children.spawn(run, "reader", FROM_READER, TO_READER, self.signals, not_for_it=self._all_but(()))

    def _fork_opener(self) -> tuple[int, Channel[FromOpener]]:
        files = list(self._log_files())

        def run(channel: Channel[ToOpener]) -> None:
            assume(Process(), None)
            open_anew(channel, files, self.config.process.user)

        return children.spawn(run, "opener", FROM_OPENER, TO_OPENER, self.signals, not_for_it=self._all_but(()))

    def _log_files(self) -> Iterator[str]:
        """Those of all logs."""
        logs = [one for listener in self.snapshot.listeners for one in listener.access_logs]
        files = {one.file for one in (*logs, *self.snapshot.request_logs)}
        yield from filter(None, files | {target.file for target in self.config.log.targets})

    def _log_opened(self, index: int, fd: int) -> None:
        self.family.send_control(LogOpened(index), [fd])
        self.log.replace(index, fd)

    def _reopen(self) -> None:
        self.family.send_all(Reopen())

    def _fork_log_writer(self, write: Callable[[Channel[ToLogWriter]], None]) -> tuple[int, Channel[FromLogWriter]]:
        def run(channel: Channel[ToLogWriter]) -> None:
            assume(self.config.process, self._identity)
            write(channel)

        return children.spawn(
            run, "log", FROM_LOG_WRITER, TO_LOG_WRITER, self.signals, not_for_it=self._all_but([self.log])
        )

    def look_after_log(self) -> None:
        """Somebody writes it."""
        control = self.family.places.get(CONTROL)
        if self.ending.phase is Phase.RUNNING:
            self.log.leave_it_to_control()
        elif control is None or control.pid is None:
            self.log.write_apart()

    def serve(self) -> None:
        """Be the one: from now on workers accept."""
        self.serving = True
        self._write_pids()
        self._remove_left()
        for place in self.family.workers():
            self._have_listen(place, self.sockets.listening)

    def _remove_left(self) -> None:
        """The files of unix sockets that nobody listens on since this one serves."""
        for path in self.held.left:
            if f"unix:{path}" not in self.sockets.listening:
                remove(path)

    def _write_pids(self) -> None:
        for file in (self.held.pidfile, self.held.second):
            try:
                file.write()
            except ConfigFault as error:
                log.get().error("pid_file_not_written", fault=str(error))

    def _have_listen(self, place: Place, sockets: Mapping[str, socket]) -> None:
        items = list(sockets.items())
        for first in range(0, len(items), AT_MOST):
            some = items[first : first + AT_MOST]
            addresses = tuple(address for address, _ in some)
            self.family.send(place, Listen(addresses), [sock.fileno() for _, sock in some])

    def send_again(self, now: float) -> None:
        """What has not arrived at a worker that had no room for it: the snapshot, sockets."""
        for place in self.family.behind(self.snapshot.version, now) if self.serving else ():
            log.limited().warning("worker_behind", child=place.name, pid=place.pid, snapshot=self.snapshot.version)
            if self.family.send(place, SnapshotChanged(self.snapshot)):
                self._have_listen(place, self.sockets.listening)

    def go_by(self, changed: PoolsChanged) -> None:
        """By these pools, and by a configuration that has been read if they are made from that."""
        read = self.reading.take(changed.generation)
        around = self.snapshot if read is None else read.snapshot
        self._show(msgspec.structs.replace(around, version=changed.version, pools=changed.pools))
        if read is not None:
            self.reloaded = read.toml
            self.fill(read.workers)

    def _show(self, snapshot: Snapshot) -> None:
        """Workers stop accepting where the snapshot has no listener before they see it, and begin after it."""
        wanted = [listener.address for listener in snapshot.listeners]
        gone = self.sockets.surplus(wanted)
        workers = self.family.workers() if self.serving else []
        for place in workers if gone else ():
            self.family.send(place, Unlisten(tuple(gone)))
        for sock in gone.values():
            close_for_good(sock)
        self.family.forget_slots(snapshot.slots - self.snapshot.slots)
        self.snapshot = snapshot
        log.set_levels(snapshot.log.levels)
        self.family.show(snapshot, time.monotonic())
        new = self.sockets.newcomers(wanted)
        for place in workers:
            self._have_listen(place, new)
        self.show()

    def bury(self, now: float) -> list[tuple[Place, str]]:
        """Children have died: forget their live sessions, and note when to replace them.

        Whose death is news, and how it came.
        """
        news: list[tuple[Place, str]] = []
        for pid, how in children.reap():
            self.family.hear_out(pid, self._hear)
            self.hang_up(pid)
            self.reading.died(pid, how)
            self.log.died(pid)
            place = self.family.place_of(pid)
            if place is None:
                continue
            if place.name == CONTROL:
                # Nobody goes on with a reload: a client would wait for ever where it has had us listen.
                self.reading.end()
            expected = place in self.family.leaving and how == "exit status 0"
            self.family.died(place, now)
            ended = self._misbehaved.pop(pid, None)
            if not expected and self.ending.phase in (Phase.RUNNING, Phase.HANDING_OVER):
                if ended is None:
                    log.get().error("child_died", child=place.name, pid=pid, how=how)
                self.family.count_death(place)
                news.append((place, ended or how))
        self.show()
        return news

    def hang_up(self, pid: int) -> None:
        """Nothing is heard from that child any more."""
        channel = self.family.channel_of(pid)
        if channel is not None:
            self.selector.unregister(channel)
            self.family.closed(pid)

    def closed(self, pid: int) -> None:
        """The child has closed its end: it is about to end, or of no use any more."""
        self.hang_up(pid)
        if not children.is_ending(pid):
            self.end_misbehaving(pid, "has closed its channel")

    def end_misbehaving(self, pid: int, reason: str) -> None:
        """A child has said what none of its kind says: it is replaced."""
        place = self.family.place_of(pid)
        if place is not None and pid not in self._misbehaved:
            self._misbehaved[pid] = reason
            log.get().error("child_misbehaved", child=place.name, pid=pid, reason=reason)
            os.kill(pid, signal.SIGKILL)
        self.hang_up(pid)

    def show(self) -> None:
        """The status line follows what there is to see, unless a stop is under way: then it says that."""
        if self.ending.phase is Phase.RUNNING:
            self.systemd.status(self.status_line())

    def facts(self) -> dict[str, object]:
        """Worth a line once everybody serves."""
        listeners = [listener.address for listener in self.snapshot.listeners]
        return {"listeners": listeners, "workers": len(self.family.workers()), "pid": os.getpid()}

    def status_line(self) -> str:
        return systemd.describe(self.snapshot, [place.ready for place in self.family.workers()])

    def end_as(self, ending: Ending) -> None:
        """Enter the phase of the stop that was decided on, if it is a new one."""
        if ending is self.ending:
            return
        self.ending = ending
        log.get().info("stopping", how=ending.phase.name.lower())
        self.systemd.stopping(ending.phase.name.lower())
        if ending.phase is Phase.DRAINING:
            self.sockets.close_listening(for_good=self.serving)
            self.family.send_workers(Stop())
        else:
            self.family.signal_all(signal.SIGTERM if ending.phase is Phase.STOPPING else signal.SIGKILL)

    def stop_fast(self) -> None:
        self.end_as(plan.stop_fast(self.ending, time.monotonic(), self.deadlines.stop))

    def stop_gracefully(self) -> None:
        self.end_as(plan.stop_gracefully(self.ending, self.config.shutdown_timeout, time.monotonic()))

    def clean_up(self) -> None:
        for place in self.family.all():
            if place.pid is not None:
                log.get().error("child_left", child=place.name, pid=place.pid, reason="it cannot be killed")
        self.log.write_apart()
        self.reopening.close()
        self.sockets.close(for_good=self.serving)
        if self.serving:
            self.held.second.remove()
            self.held.pidfile.remove()
        else:
            self.held.pidfile.close()
        if self.upgrade is not None:
            self.upgrade.close()
        self.family.close()
        self.held.table.close()
