"""Who came, where to, and how it ended: written by a thread of its own, so that a slow disk, or a slow reader of the
log, never holds up a relay.

The relay thread queues what is known of a client when all is over. When the writing is so slow that the queue is
full, records are lost, not sessions, and the log says how many. The thread owns the files.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec

from kubelb import log
from kubelb.config.log_format import compile_condition, compile_format
from kubelb.config.model.logs import AccessLog as Settings
from kubelb.config.variables import Ended, Opening, Worker, address_text, knowing
from kubelb.inbox import contained
from kubelb.relay.session import End, Session
from kubelb.snapshot import Listener, Snapshot
from kubelb.worker.books import Visit, opening_of
from kubelb.worker.logfile import LogFile
from kubelb.worker.logserver import LogServer

_QUEUED = 10_000
_TELLING = 10.0
"""Seconds between two times that it is said how many are lost, at least."""
_LONG = 3600.0
"""Seconds; the queue takes no infinite patience."""


class Entry(NamedTuple):
    """One client, when all is over."""

    listener: Listener
    server: str | None
    """As configured; None: the client got none."""
    end: str
    ended: Ended


class AccessLog:
    """Of one relay thread. Made and used after the fork, as it starts a thread."""

    def __init__(self) -> None:
        self._place = Worker("", 0)
        self._queue: queue.Queue[Entry | Callable[[], None] | None] = queue.Queue(_QUEUED)
        self._late: deque[Callable[[], None]] = deque()
        self._lost = 0
        """Counted by the relay thread alone, as the next two are by the one that writes."""
        self._told = 0
        self._tell_at = 0.0
        self._event = False
        self._writers: dict[Settings, _Writer] = {}
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def see(self, snapshot: Snapshot, place: Worker) -> None:
        """From the relay thread: what is to be written from now on; ``place`` knows the variables."""
        self._order(lambda: self._keep(snapshot, place))

    def reopen(self) -> None:
        """From any thread: open the files anew."""
        self._order(self._reopen)

    def _order(self, call: Callable[[], None]) -> None:
        """Have it done after what is queued by now; if the queue is full, as soon as the writing goes on."""
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._late.append(call)

    def session(self, visit: Visit, session: Session, end: End) -> None:
        """From the relay thread: one that is over."""
        now, up, down = time.monotonic(), session.up, session.down
        # As nginx counts it, a reset is something that the server has said.
        first_at = now if down.first_at is None and end is End.SERVER_RESET else down.first_at
        moved = up.moved, down.moved, up.unsent, down.unsent
        ended = Ended(opening_of(visit), 200, now, datetime.now().astimezone(), *moved, first_at)
        self._record(Entry(visit.listener, visit.server.name, end.word, ended))

    def unserved(self, listener: Listener, opening: Opening, end: str, status: int, sent: int = 0) -> None:
        """From the relay thread: a client who got no server, and ``sent`` bytes from us; ``status`` is nginx's."""
        ended = Ended(opening, status, time.monotonic(), datetime.now().astimezone(), 0, sent)
        self._record(Entry(listener, None, end, ended))

    def _record(self, entry: Entry) -> None:
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._lost += 1

    def close(self, patience: float | None = None) -> None:
        """Once no more is recorded: until all is written, or for so many seconds."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=patience)
            self._thread.join(patience)

    def _write(self) -> None:
        log.wait_for_room()
        while (item := self._next()) is not None:
            contained(partial(self._write_entry, item) if isinstance(item, Entry) else item)
            while self._late:
                contained(self._late.popleft())
        self._tell_lost()
        for writer in self._writers.values():
            writer.out.close()

    def _tell_lost(self) -> None:
        lost = self._lost - self._told
        if lost:
            self._told += lost
            log.get().warning("access_log_lost", reason="it is written too slowly", lines=lost)

    def _next(self) -> Entry | Callable[[], None] | None:
        """The next there is; until it comes, buffers are written out as they become due."""
        while True:
            patience = self._next_due() - time.monotonic()
            try:
                return self._queue.get(timeout=min(max(patience, 0.0), _LONG))
            except queue.Empty:
                self._write_due(time.monotonic())

    def _next_due(self) -> float:
        return min((writer.out.due for writer in self._writers.values()), default=float("inf"))

    def _write_due(self, now: float) -> None:
        for writer in self._writers.values():
            if writer.out.due <= now:
                writer.out.write_out()

    def _write_entry(self, entry: Entry) -> None:
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELLING
            self._tell_lost()
        if self._event:
            log.get().info("session", **_fields(entry))
        for settings in entry.listener.access_logs:
            self._writer(settings).write(entry)
        self._write_due(now)

    def _writer(self, settings: Settings) -> _Writer:
        """Sessions that began before a reload are written where it was wanted then."""
        if settings not in self._writers:
            self._writers[settings] = _Writer(settings, self._place)
        return self._writers[settings]

    def _keep(self, snapshot: Snapshot, place: Worker) -> None:
        if place is not self._place:
            self._place = place
            for writer in self._writers.values():
                writer.see(place)
        self._event = snapshot.log.access
        wanted = {settings for listener in snapshot.listeners for settings in listener.access_logs}
        for settings in self._writers.keys() - wanted:
            self._writers.pop(settings).out.close()
        for settings in wanted:
            self._writer(settings)

    def _reopen(self) -> None:
        for writer in self._writers.values():
            writer.out.reopen()


class _Writer:
    """One access log."""

    def __init__(self, settings: Settings, place: Worker) -> None:
        syslog = settings.syslog
        self.out = LogFile(settings) if syslog is None else LogServer(syslog, place.hostname)
        self._settings = settings
        self.see(place)

    def see(self, place: Worker) -> None:
        """Go by the variables that are there now: what those before are gone to has no value."""
        settings, worker = self._settings, knowing(place, self._settings.format, self._settings.condition)
        self._line = _formatted(settings, worker) if settings.format else _json_line(worker.pid)
        self._wanted = compile_condition(settings.condition, worker) if settings.condition else None

    def write(self, entry: Entry) -> None:
        if self._wanted is None or self._wanted(entry.ended):
            self.out.write(self._line(entry), entry.ended.at, time.monotonic())


def _formatted(settings: Settings, worker: Worker) -> Callable[[Entry], bytes]:
    line = compile_format(settings.format, settings.escape, worker, syslog=settings.syslog is not None)
    return lambda entry: line(entry.ended)


def _json_line(pid: int) -> Callable[[Entry], bytes]:
    def line(entry: Entry) -> bytes:
        at = entry.ended.at.isoformat(timespec="milliseconds")
        return msgspec.json.encode({"timestamp": at, "pid": pid, **_fields(entry)})

    return line


def _fields(entry: Entry) -> Mapping[str, object]:
    ended = entry.ended
    opening = ended.opening
    return {
        "client": address_text(opening.client.remote),
        "listener": entry.listener.address,
        "pool": entry.listener.pool,
        "server": entry.server,
        "tried": [one.server for one in opening.tries],
        "bytes_up": ended.bytes_up,
        "bytes_down": ended.bytes_down,
        "seconds": round(ended.now - opening.accepted_at, 3),
        "end": entry.end,
    }


def wanted(snapshot: Snapshot) -> bool:
    """Whether anybody is to be recorded."""
    return snapshot.log.access or any(listener.access_logs for listener in snapshot.listeners)
