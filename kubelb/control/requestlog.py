"""Who asked a health endpoint for what, and what was answered: the access logs of ``http``.

Runs in control. The threads that answer queue what is known of a request; a
:class:`~kubelb.accesslog.scribe.Scribe` writes, and owns the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from kubelb.accesslog.scribe import Scribe
from kubelb.config.http_variables import Asked, Given
from kubelb.config.log_format import compile_request_condition, compile_request_format
from kubelb.config.log_targets import request_logs
from kubelb.config.model.http import HttpServer
from kubelb.config.model.logs import AccessLog
from kubelb.config.variables import Worker, address_text

_NOTHING = Given(0, 0, (), is_complete=False)


class _Entry(NamedTuple):
    logs: tuple[AccessLog, ...]
    asked: Asked


class _Form(NamedTuple):
    """How requests are written to one access log."""

    line: Callable[[Asked], bytes]
    wanted: Callable[[Asked], bool] | None
    """None: all are."""


class RequestLog:
    """Starts its thread with the first access log there is."""

    def __init__(self, here: Worker) -> None:
        self._here = here
        self._resolved: dict[AccessLog, AccessLog] = {}
        self._forms: dict[AccessLog, _Form] = {}
        """For the thread that writes."""
        self._scribe: Scribe[_Entry] | None = None

    def see(self, http: Sequence[HttpServer], resolved: Sequence[AccessLog]) -> None:
        """What is to be written from now on: ``resolved`` are all the access logs of ``http``, with the addresses of
        their syslog servers. Not for several threads at a time."""
        self._resolved = dict(zip((log for _, log in request_logs(http)), resolved, strict=True))
        if self._scribe is None and resolved:
            self._scribe = Scribe(self._write)
        if self._scribe is not None:
            self._scribe.order(lambda: self._keep(resolved))

    def record(self, logs: Sequence[AccessLog], asked: Asked) -> None:
        """From any thread: a request that is over; ``logs`` as configured."""
        if self._scribe is not None:
            self._scribe.record(_Entry(tuple(self._resolved.get(log, log) for log in logs), asked))

    def reopen(self) -> None:
        """From any thread: open the files anew."""
        if self._scribe is not None:
            self._scribe.reopen()

    def close(self, patience: float) -> None:
        """Once no more is recorded: until all is written, or for so many seconds."""
        if self._scribe is not None:
            self._scribe.close(patience)

    def _write(self, entry: _Entry) -> None:
        assert self._scribe is not None
        for settings in entry.logs:
            form = self._form(settings)
            if form.wanted is None or form.wanted(entry.asked):
                out = self._scribe.out(settings, self._here.hostname)
                out.write(form.line(entry.asked), entry.asked.so_far.at, time.monotonic())

    def _form(self, settings: AccessLog) -> _Form:
        if settings not in self._forms:
            self._forms[settings] = _form(settings, self._here)
        return self._forms[settings]

    def _keep(self, wanted: Sequence[AccessLog]) -> None:
        assert self._scribe is not None
        self._forms = {settings: form for settings, form in self._forms.items() if settings in wanted}
        self._scribe.keep(wanted)
        for settings in wanted:
            self._scribe.out(settings, self._here.hostname)


def _form(settings: AccessLog, here: Worker) -> _Form:
    syslog = settings.syslog is not None
    return _Form(
        line=compile_request_format(settings.format, settings.escape, here, syslog)
        if settings.format
        else _json_line,
        wanted=compile_request_condition(settings.condition, here) if settings.condition else None,
    )


def _json_line(asked: Asked) -> bytes:
    ended, head, given = asked.so_far, asked.head, asked.given or _NOTHING
    client = ended.opening.client
    agent = head.first(b"user_agent")
    return msgspec.json.encode(
        {
            "timestamp": ended.at.isoformat(timespec="milliseconds"),
            "client": address_text(client.remote),
            "listener": address_text(client.local),
            "host": _text(head.host.encode("latin-1")),
            "request": _text(head.line),
            "status": ended.status,
            "bytes_sent": given.head + given.body,
            "seconds": round(asked.seconds, 3),
            "user_agent": None if agent is None else _text(agent),
        }
    )


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
