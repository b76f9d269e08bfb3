"""nginx's logs: ``log_format`` and ``access_log`` of ``stream {}`` and ``http {}``, and the outermost ``error_log``
directives; pure.

What is accepted and what is refused is as in ``ngx_stream_log_set_format`` and ``ngx_stream_log_set_log`` (nginx's
src/stream/ngx_stream_log_module.c), their equals in src/http/modules/ngx_http_log_module.c, and ``ngx_log_set_log``
(src/core/ngx_log.c).
"""

from __future__ import annotations

import posixpath
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from kubelb.config.faults import Key
from kubelb.config.log_format import Texts
from kubelb.config.model.logs import AccessLog, Escape, Log, LogLevel, LogTarget, Syslog
from kubelb.config.nginx.syntax import Directive, Notes, parse_count, parse_time
from kubelb.config.nginx.syslog import PREFIX as SYSLOG
from kubelb.config.nginx.syslog import parse_syslog
from kubelb.config.proxying import parse_size
from kubelb.config.values import Duration
from kubelb.reasons import ValueFault
from kubelb.syslog.message import Severity

_LEVELS: Final[Mapping[str, LogLevel]] = {
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "error": "error",
    "crit": "error",
    "alert": "error",
    "emerg": "error",
}
_DEBUG: Final = tuple(f"debug_{part}" for part in ("core", "alloc", "mutex", "event", "http", "mail", "stream"))
_ANY_SEVERITY: Final[Severity] = "info"
_MOST_FIRST: Final = ("debug", "info", "warning", "error")
_STANDARD_ERROR: Final = ("stderr", "/dev/stderr", "/dev/stdout")
_STANDARD: Final = ("/dev/stderr", "/dev/stdout")
_GZIP_BUFFER: Final = 64 << 10
"""Bytes, where none are said."""
COMBINED: Final = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
"""The format of ``http {}`` that is there from the start, and taken where none is named."""
_OPEN_END = re.compile(r"\$([A-Za-z0-9_]+)$")


class ErrorLogs:
    """The outermost ``error_log`` directives."""

    def __init__(self, notes: Notes, prefix: str, default: str | None) -> None:
        """``default``: where errors go without any, which names a file (``-e``); None or "": to standard error."""
        self._notes = notes
        self._prefix = prefix
        self._default = posixpath.join(prefix, default) if default else None
        self._targets: list[LogTarget] = []

    def log(self) -> Log:
        """Where there are syslog servers alone, errors go to the default as well (``ngx_log_open_default``)."""
        if not self._targets:
            return Log(file=self._default)
        if all(target.syslog is not None for target in self._targets):
            self._targets.append(LogTarget(level="error", file=self._default))
        first, *others = self._targets
        return Log(level=first.level, file=first.file, syslog=first.syslog, also=tuple(others))

    def read(self, directive: Directive) -> None:
        """What is named twice gets each event once, with all that the more talkative wants."""
        syslog, level = parse_error_log(directive.args)
        if syslog is not None:
            if syslog.severity != _ANY_SEVERITY:
                self._notes.warn(directive, "severity has no effect here, each event has its own")
            target = LogTarget(level=level, syslog=msgspec.structs.replace(syslog, severity=_ANY_SEVERITY))
        else:
            path = directive.args[0]
            file = None if path in _STANDARD_ERROR else posixpath.join(self._prefix, path)
            target = LogTarget(level=level, file=file)
        for i, other in enumerate(self._targets):
            if (other.file, other.syslog) == (target.file, target.syslog):
                talkative = min(level, other.level, key=_MOST_FIRST.index)
                self._targets[i] = msgspec.structs.replace(other, level=talkative)
                return
        key: Key = ("log", "also", len(self._targets) - 1) if self._targets else ("log",)
        self._notes.places[key] = directive.place()
        self._targets.append(target)


def parse_error_log(args: tuple[str, ...]) -> tuple[Syslog | None, LogLevel]:
    """The syslog server, if it is one, and the level of an ``error_log`` (``ngx_log_set_log``)."""
    target = args[0]
    if target.startswith("memory:"):
        raise ValueFault("a log in memory takes a debugger to be read; write a file, stderr or syslog")
    if not target:
        raise ValueFault("empty; write a path")
    syslog = parse_syslog(target) if target.startswith(SYSLOG) else None
    return syslog, _parse_levels(args[1:])


def _parse_levels(levels: tuple[str, ...]) -> LogLevel:
    """``ngx_log_set_levels``: of what is debugged there may be several."""
    found: LogLevel | None = None
    for i, level in enumerate(levels):
        if level in _LEVELS:
            if found is not None:
                raise ValueFault(f'duplicate log level "{level}"')
            found = _LEVELS[level]
        elif level in _DEBUG and all(earlier in _DEBUG for earlier in levels[:i]):
            found = "debug"
        else:
            raise ValueFault(f'invalid log level "{level}"; one of {", ".join(_LEVELS)}')
    return found or "error"


class Formats:
    """The ``log_format`` directives, and the access logs that name them."""

    def __init__(self, prefix: str, texts: Texts, combined: bool = False) -> None:
        """``combined``: there is such a format, and none has to be named."""
        self._prefix = prefix
        self._texts = texts
        self._combined = combined
        self._formats: dict[str, tuple[str, Escape]] = {"combined": (COMBINED, "default")} if combined else {}
        self._buffers: dict[str, tuple[object, ...]] = {}

    def read(self, directive: Directive) -> None:
        """``log_format NAME [escape=HOW] TEXT...``."""
        name, *texts = directive.args
        if name in self._formats:
            raise ValueFault(f'duplicate "log_format" name "{name}"')
        escape: Escape = "default"
        if texts and texts[0].startswith("escape="):
            escape = _escape(texts.pop(0)[7:])
        for text in texts:
            self._texts.check_format(text, escape)
        if not any(texts):
            raise ValueFault("an empty format; write what a line is to hold")
        self._formats[name] = (_joined(texts), escape)

    def so_far(self) -> Formats:
        """Those that stand before what is read next; with the same files."""
        earlier = Formats(self._prefix, self._texts, self._combined)
        earlier._formats, earlier._buffers = dict(self._formats), self._buffers
        return earlier

    def access_log(self, directive: Directive) -> AccessLog:
        """Of ``access_log PATH FORMAT [PARAMETER...]``; its format has to stand before it."""
        path, *rest = directive.args
        place = self._place(path)
        if not rest and not self._combined:
            raise ValueFault("log format is not specified")
        text, escape = self._format(rest[0] if rest else "combined")
        settings: dict[str, Any] = {}
        for parameter in rest[1:]:
            _read_parameter(parameter, settings)
        self._texts.check_condition(settings.get("condition", ""))
        if "gzip" in settings:
            settings.setdefault("buffer", _GZIP_BUFFER)
        if "flush" in settings and "buffer" not in settings:
            raise ValueFault(f'no buffer is defined for access_log "{path}"')
        log = AccessLog(**place, format=text, escape=escape, **settings)
        self._refuse_conflict(path, log)
        return log

    def _place(self, path: str) -> dict[str, Any]:
        """Where it goes, as settings."""
        if path.startswith(SYSLOG):
            return {"syslog": parse_syslog(path)}
        if path.startswith("memory:"):
            raise ValueFault("a log in memory is not supported; write a file or stderr")
        if not path:
            raise ValueFault("empty; write a path")
        if "$" in path:
            raise ValueFault("a path with variables is not supported; write one file for all")
        return {"file": path if path in _STANDARD else posixpath.join(self._prefix, path)}

    def _format(self, name: str) -> tuple[str, Escape]:
        found = next((value for known, value in self._formats.items() if known.lower() == name.lower()), None)
        if found is None:
            raise ValueFault(f'unknown log format "{name}"')
        return found

    def _refuse_conflict(self, path: str, log: AccessLog) -> None:
        if log.buffer and log.syslog is not None:
            raise ValueFault("logs to syslog cannot be buffered")
        buffering = (log.buffer, log.flush, log.gzip)
        if log.buffer and self._buffers.setdefault(log.file, buffering) != buffering:
            raise ValueFault(f'access_log "{path}" already defined with conflicting parameters')


class AccessLogs:
    """The ``access_log`` directives of one block."""

    def __init__(self, formats: Formats) -> None:
        self._formats = formats
        self._off = False
        self._logs: list[tuple[AccessLog, Directive]] = []

    def read(self, directive: Directive) -> None:
        if directive.args[0] != "off":
            self._logs.append((self._formats.access_log(directive), directive))
        elif len(directive.args) > 1:
            raise ValueFault(f'invalid parameter "{directive.args[1]}"')
        else:
            self._off = True

    @property
    def own(self) -> list[tuple[AccessLog, Directive]] | None:
        """None: this block says nothing of logs."""
        return [] if self._off else self._logs or None

    def within(self, outer: AccessLogs) -> list[tuple[AccessLog, Directive]]:
        """Those that count in this block: its own, or without any those of the block around it."""
        return (outer.own or []) if self.own is None else self.own


def _escape(text: str) -> Escape:
    if text not in typing.get_args(Escape):
        raise ValueFault(f'unknown log format escaping "{text}"; one of {", ".join(typing.get_args(Escape))}')
    return typing.cast(Escape, text)


def _joined(texts: list[str]) -> str:
    """One text, in which no variable's name goes on where the next text begins."""
    whole = ""
    for text in texts:
        if re.match(r"[A-Za-z0-9_]", text):
            whole = _OPEN_END.sub(r"${\1}", whole)
        whole += text
    return whole


def _read_parameter(text: str, settings: dict[str, Any]) -> None:
    """Into the settings of :class:`AccessLog`."""
    name, equals, value = text.partition("=")
    parse = _PARAMETERS.get(name)
    if parse is None or not (equals or name == "gzip"):
        raise ValueFault(f'invalid parameter "{text}"')
    field = "condition" if name == "if" else name
    settings[field] = parse(value if equals else "1")


def _parse_buffer(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError:
        size = 0
    if not size:
        raise ValueFault(f'invalid buffer size "{text}"; write for example 32k')
    return size


def _parse_flush(text: str) -> Duration:
    try:
        flush = parse_time(text)
    except ValueError:
        flush = Duration(0)
    if not flush:
        raise ValueFault(f'invalid flush time "{text}"; write for example 5s')
    return flush


def _parse_level(text: str) -> int:
    try:
        level = parse_count(text)
    except ValueError:
        level = 0
    if not 1 <= level <= 9:
        raise ValueFault(f'invalid compression level "{text}"; write a number from 1 to 9')
    return level


def _parse_condition(text: str) -> str:
    if not text:
        raise ValueFault("an empty condition logs nobody; write access_log off")
    return text


_PARAMETERS: Final[Mapping[str, Callable[[str], object]]] = {
    "buffer": _parse_buffer,
    "flush": _parse_flush,
    "gzip": _parse_level,
    "if": _parse_condition,
}
