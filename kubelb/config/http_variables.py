"""What of an HTTP request has a name: the variables of nginx's http module that a health endpoint can know; pure.

Their values are those of nginx 1.22: ngx_http_variables.c, ngx_http_parse.c (arguments and cookies) and in modules/
ngx_http_stub_status_module.c, all in its src/http.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from kubelb.config.expression import Expression, Variable
from kubelb.config.http_head import Head
from kubelb.config.variables import Ended, Worker, session_variables
from kubelb.reasons import ValueFault

MAX_VARIABLES: Final = 64
"""In one text: each may be as long as the head of a request."""


class Connections(NamedTuple):
    """Those that are open."""

    active: int
    reading: int
    writing: int
    waiting: int


class Given(NamedTuple):
    """What has gone out."""

    head: int
    """Bytes of the answer's head."""
    body: int
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, with underscores for hyphens."""
    is_complete: bool


class Asked(NamedTuple):
    """A request, and all that is known once the status of its answer is."""

    head: Head
    so_far: Ended
    """Client, status and time, as of a session."""
    server_name: str
    """The first of the server that answers."""
    connections: Connections
    number: int
    """On its connection; the first is 1."""
    identity: bytes
    """16 random bytes."""
    seconds: float
    """Since it began."""
    connected: float
    """Seconds since its connection came."""
    is_pipelined: bool = False
    """Whether it came before the answer to the one before."""
    given: Given | None = None
    """Once there is an answer."""


_SPACES: Final = re.compile(rb" *")
_REST: Final = re.compile(rb"[^;,]*[;,]? *")
"""Of what is no cookie of that name, up to the next."""
_OF_SESSIONS: Final = (
    *("binary_remote_addr", "connection", "hostname", "msec", "nginx_version", "pid", "proxy_protocol_addr"),
    *("proxy_protocol_port", "proxy_protocol_server_addr", "proxy_protocol_server_port", "realip_remote_addr"),
    *("realip_remote_port", "remote_addr", "remote_port", "server_addr", "server_port", "status", "time_iso8601"),
    "time_local",
)


def _host(asked: Asked) -> bytes:
    return asked.head.host.encode("latin-1") or asked.server_name.encode()


def _remote_user(asked: Asked) -> bytes | None:
    """``ngx_http_auth_basic_user`` (src/http/ngx_http_core_module.c)."""
    kind, _, word = (asked.head.first(b"authorization") or b"").partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        word = word.strip(b" ")
        user, colon, _ = b64decode(word + b"=" * (-len(word) % 4), validate=True).partition(b":")
    except ValueError:
        return None
    return user if colon else None


def _length(asked: Asked) -> bytes:
    """To nginx a request of HTTP/0.9 is over with its line."""
    head = asked.head
    return b"%d" % (head.length if head.fault or head.version > (0, 9) else len(head.line) + 2)


def _sent(asked: Asked) -> bytes:
    return b"%d" % (asked.given.head + asked.given.body if asked.given else 0)


def _joined(name: bytes, between: bytes) -> Variable[Asked]:
    return lambda asked: between.join(asked.head.all(name)) or None


_NAMED: Final[Mapping[str, Variable[Asked]]] = {
    "args": lambda asked: asked.head.query or None,
    "body_bytes_sent": lambda asked: b"%d" % (asked.given.body if asked.given else 0),
    "bytes_sent": _sent,
    "connection_requests": lambda asked: b"%d" % asked.number,
    "connection_time": lambda asked: b"%.3f" % asked.connected,
    "connections_active": lambda asked: b"%d" % asked.connections.active,
    "connections_reading": lambda asked: b"%d" % asked.connections.reading,
    "connections_waiting": lambda asked: b"%d" % asked.connections.waiting,
    "connections_writing": lambda asked: b"%d" % asked.connections.writing,
    "content_length": lambda asked: asked.head.first(b"content_length"),
    "content_type": lambda asked: asked.head.first(b"content_type"),
    "document_uri": lambda asked: asked.head.path,
    "host": _host,
    "http_cookie": _joined(b"cookie", b"; "),
    "http_x_forwarded_for": _joined(b"x_forwarded_for", b", "),
    "https": lambda asked: b"",
    "is_args": lambda asked: b"?" if asked.head.query else b"",
    "query_string": lambda asked: asked.head.query or None,
    "remote_user": _remote_user,
    "request": lambda asked: asked.head.line,
    "request_completion": lambda asked: b"OK" if asked.given and asked.given.is_complete else b"",
    "request_id": lambda asked: asked.identity.hex().encode(),
    "request_length": _length,
    "request_method": lambda asked: asked.head.method,
    "request_time": lambda asked: b"%.3f" % asked.seconds,
    "request_uri": lambda asked: asked.head.target,
    "scheme": lambda asked: b"http",
    "server_name": lambda asked: asked.server_name.encode(),
    "server_protocol": lambda asked: asked.head.protocol or None,
    "uri": lambda asked: asked.head.path,
}

_ABSENT: Final = (
    *("gzip_ratio", "proxy_host", "proxy_port", "request_body", "ssl_cipher", "ssl_ciphers", "ssl_client_verify"),
    *("ssl_protocol", "ssl_server_name", "ssl_session_id", "ssl_session_reused", "upstream_addr"),
    *("upstream_bytes_received", "upstream_bytes_sent", "upstream_cache_status", "upstream_connect_time"),
    *("upstream_header_time", "upstream_response_length", "upstream_response_time", "upstream_status"),
)
"""Of other modules of nginx's, which say nothing of an answer that is made here."""


def _of_session(variable: Variable[Ended]) -> Variable[Asked]:
    return lambda asked: variable(asked.so_far)


def _header(name: str) -> Variable[Asked]:
    wanted = name.encode()
    return lambda asked: asked.head.first(wanted)


def _told(name: str) -> Variable[Asked]:
    """The first header of the name, or all of those that ``ngx_http_variable_headers`` has (nginx's
    src/http/ngx_http_variables.c)."""
    wanted = name.encode()
    at_most = None if name in ("cache_control", "link") else 1

    def value(asked: Asked) -> bytes | None:
        headers = asked.given.headers if asked.given else ()
        return b", ".join([text for one, text in headers if one == wanted][:at_most]) or None

    return value


def _argument(name: str) -> Variable[Asked]:
    if not name:
        return lambda asked: None
    pattern = re.compile(rb"(?:\A|&)" + name.encode() + rb"=([^&]*)", re.IGNORECASE)

    def value(asked: Asked) -> bytes | None:
        match = pattern.search(asked.head.query)
        return match and match[1]

    return value


def _cookie(name: str) -> Variable[Asked]:
    wanted = name.encode()
    return lambda asked: cookie(asked.head.all(b"cookie"), wanted)


def cookie(lines: Iterable[bytes], name: bytes) -> bytes | None:
    """The first of that name, in lower case; case does not count. ``ngx_http_parse_multi_header_lines``."""
    for line in lines:
        at, lower = 0, line.lower()
        while at < len(line):
            if lower.startswith(name, at):
                at = _end(_SPACES, line, at + len(name))
                if line.startswith(b"=", at):
                    return line[at + 1 :].lstrip(b" ").partition(b";")[0]
                at += 1
            at = _end(_REST, line, at)
    return None


def _end(pattern: re.Pattern[bytes], line: bytes, at: int) -> int:
    match = pattern.match(line, at)
    return match.end() if match else len(line)


_PREFIXES: Final[Mapping[str, Callable[[str], Variable[Asked]]]] = {
    "arg_": _argument,
    "cookie_": _cookie,
    "http_": _header,
}


class _Variables(Mapping[str, Variable[Asked]]):
    """All that have a name of their own, and those of which it tells an argument, a cookie or a header."""

    def __init__(
        self,
        named: Mapping[str, Variable[Asked]],
        prefixes: Mapping[str, Callable[[str], Variable[Asked]]] = _PREFIXES,
    ) -> None:
        self._named = named
        self._prefixes = prefixes

    def __getitem__(self, name: str) -> Variable[Asked]:
        if name in self._named:
            return self._named[name]
        for prefix, make in self._prefixes.items():
            if name.startswith(prefix):
                return make(name[len(prefix) :])
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


@lru_cache(maxsize=4)
def http_variables(worker: Worker) -> Mapping[str, Variable[Asked]]:
    """Those of an answer."""
    return _Variables(_named(worker))


@lru_cache(maxsize=4)
def logged_variables(worker: Worker) -> Mapping[str, Variable[Asked]]:
    """Those of a line of a log."""
    pipe: Variable[Asked] = lambda asked: b"p" if asked.is_pipelined else b"."  # noqa: E731
    return _Variables({**_named(worker), "pipe": pipe}, {**_PREFIXES, "sent_http_": _told})


def _named(worker: Worker) -> dict[str, Variable[Asked]]:
    of_sessions = session_variables(worker)
    absent: Variable[Asked] = lambda asked: None  # noqa: E731
    return {
        **_NAMED,
        **{name: _of_session(of_sessions[name]) for name in _OF_SESSIONS},
        **dict.fromkeys(_ABSENT, absent),
    }


@lru_cache(maxsize=1024)
def compile_http(text: str, worker: Worker = Worker("", 0)) -> Expression[Asked]:  # noqa: B008 (frozen)
    """What an answer says. Raises :class:`ValueFault`, saying what would be right."""
    made = Expression(text, http_variables(worker))
    if text.count("$") > MAX_VARIABLES:
        raise ValueFault(f"{text.count('$')} variables; at most {MAX_VARIABLES} in one text")
    return made
