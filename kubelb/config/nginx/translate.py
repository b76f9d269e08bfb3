"""nginx.conf, parsed, into the model: what its ``stream {}`` proxies and its ``http {}`` answers; pure.

nginx's defaults hold where the file says nothing (nginx 1.22, ``src/stream``): one worker, round robin, a connect
timeout of 60 s, an idle timeout of 10 minutes. A directive without effect here is accepted with a warning, anything
else that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubelb.config.faults import ConfigFault, Fault, Place
from kubelb.config.model.config import Config, Loaded
from kubelb.config.nginx.http import Endpoints
from kubelb.config.nginx.logs import ErrorLogs
from kubelb.config.nginx.process import Processes
from kubelb.config.nginx.stream import Streams
from kubelb.config.nginx.syntax import Directive, NginxOptions, Notes, parse_count, parse_time, walk

NO_EVENTS = 'no "events" section in configuration'


_NO_OPTIONS = NginxOptions()


def translate(directives: Sequence[Directive], file: str, options: NginxOptions = _NO_OPTIONS) -> Loaded:
    """The configuration, its rules not yet checked; :class:`ConfigFault` with everything that is refused."""
    notes = Notes()
    main = _Main(notes, options)
    walk(directives, "main", main.handlers, notes)
    if not any(directive.name == "events" for directive in directives):
        notes.faults.append(Fault(file=file, what=NO_EVENTS, instead="write events {}"))
    if notes.faults:
        raise ConfigFault(*notes.faults)
    notes.places[()] = Place(file)
    return Loaded(main.config(), tuple(notes.warnings), notes.places, main.processes.daemon)


class _Main:
    """The outermost context."""

    def __init__(self, notes: Notes, options: NginxOptions) -> None:
        self._notes = notes
        self._options = options
        self.processes = Processes(notes, options.prefix, options.pid)
        self._settings: dict[str, Any] = {"workers": 1}
        self._error_logs = ErrorLogs(notes, options.prefix, options.error_log)
        self._streams = Streams(notes, options.prefix)
        self._endpoints = Endpoints(notes, options.prefix)
        self.handlers = {
            "worker_processes": self._worker_processes,
            "worker_rlimit_nofile": self._worker_rlimit_nofile,
            "worker_shutdown_timeout": self._worker_shutdown_timeout,
            "error_log": self._error_logs.read,
            **self.processes.handlers,
            "stream": self._stream,
            "http": self._http,
        }

    def config(self) -> Config:
        return Config(
            **self._settings,
            pin=self.processes.pin,
            runtime_dir=self.processes.runtime_dir(),
            process=self.processes.process(),
            log=self._error_logs.log(),
            listeners=tuple(self._streams.listeners),
            pools=self._streams.pools,
            variables=self._streams.variables,
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

    def _stream(self, directive: Directive) -> None:
        self._streams.read(directive)

    def _http(self, directive: Directive) -> None:
        self._endpoints.read(directive)
