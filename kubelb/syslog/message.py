"""What syslog messages look like (RFC 3164), as nginx writes them; pure.

Source: ``ngx_syslog_add_header`` (nginx's src/core/ngx_syslog.c), also of the names of facilities and severities.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

from kubelb.reasons import ValueFault

# fmt: off
Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp",
    "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]
# fmt: on
"""Who speaks; each stands for its place in the list."""
Severity = Literal["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"]
"""How bad it is; each stands for its place in the list."""
FACILITIES: Final[tuple[Facility, ...]] = typing.get_args(Facility)
SEVERITIES: Final[tuple[Severity, ...]] = typing.get_args(Severity)
PORT: Final = 514
"""UDP."""
MAX_TAG: Final = 32

OF_LEVEL: Final[Mapping[str, Severity]] = {
    "debug": "debug",
    "info": "info",
    "warning": "warn",
    "error": "error",
    "critical": "crit",
}
"""The severities of the levels of our own events."""

_TAG = re.compile(r"[0-9A-Za-z_]*")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Peer(NamedTuple):
    """A syslog server, and who messages to it say that they are from."""

    address: str | tuple[str, int]
    """The path of its unix socket, or its numeric host and its port."""
    facility: Facility = "local7"
    tag: str = "kubelb"
    hostname: str = ""
    """Empty: it is left out."""

    def message(self, severity: Severity, at: datetime, text: bytes) -> bytes:
        """A datagram; ``at`` is local time."""
        priority = FACILITIES.index(self.facility) * 8 + SEVERITIES.index(severity)
        hostname = f" {self.hostname}" if self.hostname else ""
        return f"<{priority}>{_timestamp(at)}{hostname} {self.tag}: ".encode() + text

    def __str__(self) -> str:
        """As the operator writes the address."""
        if isinstance(self.address, str):
            return f"unix:{self.address}"
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_tag(tag: str) -> None:
    """Raises :class:`ValueFault`, in nginx's words."""
    if len(tag.encode(errors="replace")) > MAX_TAG:
        raise ValueFault(f"syslog tag length exceeds {MAX_TAG}")
    if not _TAG.fullmatch(tag):
        raise ValueFault('syslog "tag" only allows alphanumeric characters and underscore')


def _timestamp(at: datetime) -> str:
    """RFC 3164, 4.1.2: English, whatever the locale."""
    return f"{_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S}"
