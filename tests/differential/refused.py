"""What nginx takes and kubelb refuses on purpose, each with the reason it gives."""

from __future__ import annotations

from dataclasses import dataclass

from tests.differential.directives import LOCATION, MAIN, SERVER, SITE, STREAM, UPSTREAM


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
    Refused("the same twice", LOCATION, "stub_status; stub_status;", "duplicate"),
    Refused("large numbers", UPSTREAM, "server 127.0.0.6:1 weight=65536;", "from 1 to 65535"),
    Refused("variables of one's own in `http {}`", SITE, "set $a b;", "in stream {} only"),
    Refused("some of nginx's variables in `http {}`", SITE, "add_header X-A $request_filename;", "unknown"),
    Refused("many variables in one text of `http {}`", SITE, f"add_header X-A {'$uri' * 65};", "at most 64"),
    Refused("variables where names are", SITE, "server_name $hostname;", "variables are not supported"),
    Refused("some limits in time for a location", LOCATION, "send_timeout 5s;", "a whole server"),
    Refused("a Keep-Alive header", SITE, "keepalive_timeout 75s 60s;", "a Keep-Alive header is not sent"),
    Refused("the same twice", UPSTREAM, "server 127.0.0.7:1;", "127.0.0.7:1"),
    Refused("a server that is a listener", UPSTREAM, "server 127.0.0.7:26000;", "leads back to this pool"),
    Refused("the same twice", UPSTREAM, "least_conn; least_conn;", "duplicate"),
    Refused("the same twice", UPSTREAM, "least_conn; hash $remote_addr;", "second balancing method"),
    Refused("the same twice", UPSTREAM, "zone a 64k; zone a 64k;", "duplicate"),
    Refused("a log in memory", MAIN, "error_log memory:1m;", "takes a debugger"),
    Refused("a log in memory", SERVER, "error_log memory:1m debug;", "takes a debugger"),
    Refused(
        "a relative path", STREAM, "access_log syslog:server=unix:a.sock known;", "is not the path of a unix socket"
    ),
    Refused("regular expressions of other kinds", STREAM, "map $remote_addr $r { ~^(?=1) a; }", "lookaround"),
    Refused("regular expressions of other kinds", STREAM, r"map $remote_addr $r { ~(.)\1 a; }", "backreferences"),
    Refused("regular expressions that take too long", STREAM, "map $remote_addr $r { ~(1+)+$ a; }", "for ever"),
    Refused(
        "one name for a group and for what is no group",
        STREAM,
        "map $remote_addr $r { ~(?<r>1) a; }",
        "a variable already",
    ),
    Refused("what is captured where nothing is", STREAM, "map $remote_addr $r { 1 $1; }", 'unknown "1"'),
    Refused("variables about TLS", STREAM, "log_format tls $ssl_preread_server_name;", "unknown"),
    Refused("a name to listen on", SERVER, "listen localhost:26001;", "is a name"),
    Refused(
        "an address, and all addresses with its port", SERVER, "listen 26000; listen 127.0.0.7:26000;", "is taken"
    ),
    Refused("none at all", MAIN, "worker_processes 0;", "too few"),
    Refused("none at all", STREAM, "log_format nothing '';", "an empty format"),
    Refused("none at all", STREAM, "upstream a { server 127.0.0.6:1 down; }", "every server is down"),
    Refused("large numbers", MAIN, "worker_processes 65;", "at most 64"),
    Refused("large numbers", SERVER, "listen 127.0.0.8:26001 so_keepalive=1d::;", "from 0 to 32767"),
    Refused("large numbers", STREAM, "proxy_timeout 4000d;", "ten years"),
    Refused(
        "a variable's name of anything but letters, digits and underscores, or of digits alone",
        SERVER,
        "set $a-b c;",
        "invalid variable name",
    ),
    Refused("`include` of what is no regular file", STREAM, "include /dev/null;", "not a regular file"),
    Refused("what serves files, or asks other servers", SITE, "error_page 404 /a;", "a fixed answer"),
    Refused("what serves files, or asks other servers", SITE, "location /files { root /; }", "files are not served"),
    Refused("locations of other kinds", SITE, "location @a { return 200; }", "named locations"),
    Refused(
        "a `listen` of `http` for other protocols or families", SITE, "listen 127.0.0.8:26101 http2;", "HTTP/1.1 only"
    ),
    Refused("a `server_name` that nobody can ask for, or one twice", SITE, "server_name www.*.com;", "wildcard"),
    Refused("a status that is no final one of HTTP", SITE, "return 600;", "from 200 to 599"),
    Refused("a log for each value", STREAM, "access_log /tmp/$remote_addr known;", "a path with variables"),
)
