"""Where events and clients are logged; pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from kubelb.config.model.settings import Settings
from kubelb.config.values import Address, Duration
from kubelb.syslog.message import Facility, Severity

Escape = Literal["default", "json", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Syslog(Settings, frozen=True, kw_only=True):
    """A syslog server, which gets datagrams as RFC 3164 has them."""

    server: Address
    """Its unix socket, or where it listens (UDP). A name is looked up when the proxy starts, or at a reload."""
    facility: Facility = "local7"
    severity: Severity = "info"
    """Of an access log; events have each their own."""
    tag: str = "kubelb"
    """The program that messages say they are from."""
    hostname: bool = True
    """Whether they say which machine they are from."""


class AccessLog(Settings, frozen=True, kw_only=True):
    """A line for each client or request, written when all is over, to a file or a syslog server; nginx's
    ``access_log``."""

    file: str = ""
    """Its path; ``/dev/stdout`` and ``/dev/stderr`` are what the process has open as such."""
    syslog: Syslog | None = None
    """In place of a file."""
    format: str = ""
    """A text with variables (:mod:`kubelb.config.log_format`); empty: a JSON object."""
    escape: Escape = "default"
    """How the variables' values are made safe: with ``\\xXX``, as within a JSON string, or not at all."""
    buffer: int = 0
    """Bytes that are gathered before they are written; 0: each line is written at once."""
    flush: Duration | None = None
    """How long a line may stay in the buffer; None: until that is full."""
    gzip: int = 0
    """Level, 1 to 9, at which each buffer is compressed; 0: not at all."""
    condition: str = msgspec.field(default="", name="if")
    """A text with variables; who makes it empty or ``0`` is not logged. Empty: everybody is logged."""


class LogTarget(Settings, frozen=True, kw_only=True):
    """Where events go to."""

    level: LogLevel = "info"
    file: str | None = None
    """None, and no syslog: standard error."""
    syslog: Syslog | None = None


class Log(LogTarget, frozen=True, kw_only=True):
    """What is logged; JSON, unless it goes to a terminal."""

    access: bool = False
    """An event for each client, of every listener, when all is over."""
    also: tuple[LogTarget, ...] = ()
    """Where events go as well."""

    @property
    def targets(self) -> tuple[LogTarget, ...]:
        """All of them."""
        return (LogTarget(level=self.level, file=self.file, syslog=self.syslog), *self.also)

    @property
    def levels(self) -> tuple[LogLevel, ...]:
        """Of each in turn."""
        return (self.level, *(target.level for target in self.also))
