"""Who came, where to, and how it ended: what a relay thread has written when all is over for a client.

The relay thread queues what is known of it; a :class:`~kubelb.accesslog.scribe.Scribe` writes, and owns the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from kubelb import log
from kubelb.accesslog.scribe import Scribe
from kubelb.config.log_format import compile_condition, compile_format
from kubelb.config.model.logs import AccessLog as Settings
from kubelb.config.variables import Ended, Opening, Worker, address_text, knowing
from kubelb.relay.session import End, Session
from kubelb.snapshot import Listener, Snapshot
from kubelb.worker.books import Visit, opening_of


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
        self._event = False
        self._forms: dict[Settings, _Form] = {}
        """These are for the thread that writes."""
        self._scribe: Scribe[Entry] = Scribe(self._write)

    def see(self, snapshot: Snapshot, place: Worker) -> None:
        """From the relay thread: what is to be written from now on; ``place`` knows the variables."""
        self._scribe.order(lambda: self._keep(snapshot, place))

    def reopen(self) -> None:
        """From any thread: open the files anew."""
        self._scribe.reopen()

    def session(self, visit: Visit, session: Session, end: End) -> None:
        """From the relay thread: one that is over."""
        now, up, down = time.monotonic(), session.up, session.down
        # As nginx counts it, a reset is something that the server has said.
        first_at = now if down.first_at is None and end is End.SERVER_RESET else down.first_at
        moved = up.moved, down.moved, up.unsent, down.unsent
        ended = Ended(opening_of(visit), 200, now, datetime.now().astimezone(), *moved, first_at)
        self._scribe.record(Entry(visit.listener, visit.server.name, end.word, ended))

    def unserved(self, listener: Listener, opening: Opening, end: str, status: int, sent: int = 0) -> None:
        """From the relay thread: a client who got no server, and ``sent`` bytes from us; ``status`` is nginx's."""
        ended = Ended(opening, status, time.monotonic(), datetime.now().astimezone(), 0, sent)
        self._scribe.record(Entry(listener, None, end, ended))

    def close(self, patience: float | None = None) -> None:
        """Once no more is recorded: until all is written, or for so many seconds."""
        self._scribe.close(patience)

    def _write(self, entry: Entry) -> None:
        if self._event:
            log.get().info("session", **_fields(entry))
        for settings in entry.listener.access_logs:
            form = self._form(settings)
            if form.wanted is None or form.wanted(entry.ended):
                out = self._scribe.out(settings, self._place.hostname)
                out.write(form.line(entry), entry.ended.at, time.monotonic())

    def _form(self, settings: Settings) -> _Form:
        """Sessions that began before a reload are written where it was wanted then."""
        if settings not in self._forms:
            self._forms[settings] = _form(settings, self._place)
        return self._forms[settings]

    def _keep(self, snapshot: Snapshot, place: Worker) -> None:
        if place is not self._place:
            self._place = place
            self._forms = {}
        self._event = snapshot.log.access
        wanted = {settings for listener in snapshot.listeners for settings in listener.access_logs}
        self._forms = {settings: form for settings, form in self._forms.items() if settings in wanted}
        self._scribe.keep(wanted)
        for settings in wanted:
            self._scribe.out(settings, place.hostname)


class _Form(NamedTuple):
    """How clients are written to one access log."""

    line: Callable[[Entry], bytes]
    wanted: Callable[[Ended], bool] | None
    """None: all are."""


def _form(settings: Settings, place: Worker) -> _Form:
    """By the variables that are there now: what those before are gone to has no value."""
    worker = knowing(place, settings.format, settings.condition)
    return _Form(
        line=_formatted(settings, worker) if settings.format else _json_line(worker.pid),
        wanted=compile_condition(settings.condition, worker) if settings.condition else None,
    )


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
