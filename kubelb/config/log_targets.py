"""The targets of the log, the access logs of health endpoints, and syslog servers as messages are sent to them;
pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubelb.config.faults import Key
from kubelb.config.model.http import HttpServer
from kubelb.config.model.logs import AccessLog, Log, LogTarget, Syslog
from kubelb.syslog.message import Peer


def log_targets(log: Log) -> Iterator[tuple[Key, LogTarget]]:
    """Each with where its settings are."""
    first, *others = log.targets
    yield ("log",), first
    yield from ((("log", "also", i), target) for i, target in enumerate(others))


def request_logs(http: Sequence[HttpServer]) -> Iterator[tuple[Key, AccessLog]]:
    """The same of the access logs of health endpoints."""
    for i, server in enumerate(http):
        yield from ((("http", i, "access_log", k), log) for k, log in enumerate(server.access_logs))
        for j, location in enumerate(server.locations):
            for k, log in enumerate(location.access_logs or ()):
                yield ("http", i, "location", j, "access_log", k), log


def peer(syslog: Syslog, hostname: str) -> Peer:
    """``hostname`` is the machine's; the server is an address by now."""
    server = syslog.server
    return Peer(
        address=(server.host, server.port) if server.path is None else server.path,
        facility=syslog.facility,
        tag=syslog.tag,
        hostname=hostname.lower() if syslog.hostname else "",
    )
