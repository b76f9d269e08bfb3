"""nginx.conf, parsed, into the model: what its ``stream {}`` proxies and its ``http {}`` answers; pure.

nginx's defaults hold where the file says nothing (nginx 1.22, ``src/stream``): one worker, round robin, a connect
timeout of 60 s, an idle timeout of 10 minutes. A directive without effect here is accepted with a warning, anything
else that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubelb.config.faults import ConfigFault, Fault, Place
from kubelb.config.model import Config, Loaded, Log, LogLevel
from kubelb.config.nginx_http import Endpoints
from kubelb.config.nginx_stream import Streams
from kubelb.config.nginx_syntax import Directive, Notes, parse_count, parse_time, walk

_LEVELS: dict[str, LogLevel] = {
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "error": "error",
    "crit": "error",
    "alert": "error",
    "emerg": "error",
}
_MOST_FIRST = ("debug", "info", "warning", "error")
_STANDARD_ERROR = ("stderr", "/dev/stderr", "/dev/stdout")


def translate(directives: Sequence[Directive], file: str) -> Loaded:
    """The configuration, its rules not yet checked; :class:`ConfigFault` with everything that is refused."""
    notes = Notes()
    main = _Main(notes)
    walk(directives, "main", main.handlers, notes)
    if not any(directive.name == "events" for directive in directives):
        notes.faults.append(Fault(file=file, what='no "events" section in configuration', instead="write events {}"))
    if notes.faults:
        raise ConfigFault(*notes.faults)
    notes.places[()] = Place(file)
    return Loaded(main.config(), tuple(notes.warnings), notes.places)


class _Main:
    """The outermost context."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._settings: dict[str, Any] = {"workers": 1}
        self._levels: list[LogLevel] = []
        self._streams = Streams(notes)
        self._endpoints = Endpoints(notes)
        self.handlers = {
            "worker_processes": self._worker_processes,
            "worker_rlimit_nofile": self._worker_rlimit_nofile,
            "worker_shutdown_timeout": self._worker_shutdown_timeout,
            "worker_cpu_affinity": self._worker_cpu_affinity,
            "error_log": self._error_log,
            "events": self._events,
            "stream": self._stream,
            "http": self._http,
        }

    def config(self) -> Config:
        level = min(self._levels, key=_MOST_FIRST.index, default=Log().level)
        return Config(
            **self._settings,
            log=Log(level=level, access=self._streams.access_log),
            listeners=tuple(self._streams.listeners),
            pools=self._streams.pools,
            http=tuple(self._endpoints.servers),
        )

    def _set(self, name: str, directive: Directive, value: object) -> None:
        self._settings[name] = value
        self._notes.places[(name,)] = directive.place()

    def _worker_processes(self, directive: Directive) -> None:
        text = directive.args[0]
        self._set("workers", directive, text if text == "auto" else parse_count(text))

    def _worker_rlimit_nofile(self, directive: Directive) -> None:
        self._set("max_open_files", directive, parse_count(directive.args[0]))

    def _worker_shutdown_timeout(self, directive: Directive) -> None:
        """nginx takes 0 for no limit."""
        self._set("shutdown_timeout", directive, parse_time(directive.args[0]) or None)

    def _worker_cpu_affinity(self, directive: Directive) -> None:
        if directive.args != ("auto",):
            raise ValueError("CPU masks are not supported; write worker_cpu_affinity auto")
        self._set("pin", directive, True)

    def _error_log(self, directive: Directive) -> None:
        target, level = directive.args[0], directive.args[1] if len(directive.args) > 1 else "error"
        if len(directive.args) > 2 or level not in _LEVELS:
            raise ValueError(f'invalid log level "{directive.args[-1]}"; one of {", ".join(_LEVELS)}')
        self._levels.append(_LEVELS[level])
        if target not in _STANDARD_ERROR:
            self._notes.warn(directive, f'nothing is written to "{target}", logs go to standard error')

    def _events(self, directive: Directive) -> None:
        walk(directive.block or (), "events", {}, self._notes)

    def _stream(self, directive: Directive) -> None:
        self._streams.read(directive)

    def _http(self, directive: Directive) -> None:
        self._endpoints.read(directive)
