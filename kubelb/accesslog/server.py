"""One access log that goes to a syslog server, a datagram a line.

Used and owned, with its socket, by the one thread that writes it, as :class:`kubelb.accesslog.file.LogFile` is.
"""

from __future__ import annotations

import math
from datetime import datetime

from kubelb import log
from kubelb.config.log_targets import peer
from kubelb.config.model.logs import Syslog
from kubelb.syslog.sender import Sender


class LogServer:
    """Nothing is buffered, so nothing is ever ``due``."""

    due = math.inf

    def __init__(self, settings: Syslog, hostname: str) -> None:
        self._peer = peer(settings, hostname)
        self._severity = settings.severity
        self._sender = Sender(self._peer.address)

    def write(self, line: bytes, at: datetime, _now: float) -> None:
        """One of that time; it is lost, and that is said, where the server does not take it at once."""
        reason = self._sender.send(self._peer.message(self._severity, at, line))
        if reason is not None:
            log.limited().error("access_log_lost", syslog=str(self._peer), reason=reason, lines=1)

    def write_out(self) -> None:
        """Everything is."""

    def reopen(self) -> None:
        """The next message has another socket."""
        self.close()

    def close(self) -> None:
        self._sender.close()
