"""What nginx takes and kubelb refuses on purpose, each with the reason it gives."""

from __future__ import annotations

from dataclasses import dataclass

from tests.differential.directives import SERVER, STREAM, UPSTREAM


@dataclass(frozen=True)
class Refused:
    row: str
    """What DIFFERENCES.md calls it."""
    context: str
    statement: str
    reason: str
    """A part of what kubelb says."""


REFUSED = (
    Refused("ssl_preread", SERVER, "ssl_preread on;", "TLS is passed through unread"),
    Refused("proxy_ssl", SERVER, "proxy_ssl on;", "TLS is passed through, not begun here"),
    Refused("ssl", SERVER, "ssl_protocols TLSv1.2;", "TLS is passed through, not ended here"),
    Refused("udp", SERVER, "listen 127.0.0.8:26001 udp;", "only TCP is carried"),
    Refused("udp", STREAM, "proxy_requests 1;", "only TCP is carried"),
    Refused("udp", SERVER, "proxy_responses 1;", "only TCP is carried"),
    Refused("transparent", SERVER, "proxy_bind $remote_addr transparent;", "transparent"),
    Refused("a port of the kernel's choice", SERVER, "listen 127.0.0.8;", "no port"),
    Refused("a time of 0", STREAM, "proxy_timeout 0;", "zero"),
    Refused("a time of 0", SERVER, "proxy_connect_timeout 0;", "zero"),
    Refused("the same twice", UPSTREAM, "server 127.0.0.7:1;", "127.0.0.7:1"),
    Refused("the same twice", UPSTREAM, "least_conn; least_conn;", "duplicate"),
    Refused("the same twice", UPSTREAM, "least_conn; hash $remote_addr;", "second balancing method"),
    Refused("the same twice", UPSTREAM, "zone a 64k; zone a 64k;", "duplicate"),
    Refused("syslog", STREAM, "access_log syslog:server=127.0.0.1 known;", "syslog is not supported"),
    Refused("a log for each value", STREAM, "access_log /tmp/$remote_addr known;", "a path with variables"),
)
