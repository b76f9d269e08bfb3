"""The rules for health endpoints; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from kubelb.config.access import parse_access
from kubelb.config.faults import Key
from kubelb.config.http_variables import compile_http
from kubelb.config.log_format import OF_REQUESTS
from kubelb.config.lookup import MapKeys
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.model.logs import AccessLog
from kubelb.config.rules.logs import access_log_problems
from kubelb.config.rules.rule import Problem, duration_problems, text_problems
from kubelb.config.values import Address
from kubelb.reasons import ValueFault

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110, 5.6.2)."""
_OWN: Final = (
    *("accept-ranges", "connection", "content-length", "date", "etag", "keep-alive", "last-modified"),
    *("location", "proxy-authenticate", "proxy-authorization", "server", "te", "trailers", "transfer-encoding"),
    "upgrade",
)
"""What an endpoint says itself, and what belongs to the connection. Of Content-Type there may be a second one, as
nginx has it: many a health endpoint is written so."""


def http_problems(endpoints: Sequence[HttpServer]) -> Iterator[Problem]:
    names: dict[Address, MapKeys] = {}
    default: set[Address] = set()
    for i, endpoint in enumerate(endpoints):
        key: Key = ("http", i)
        yield from _server_problems(key, endpoint)
        for j, address in enumerate(endpoint.default_on):
            if address not in endpoint.listen:
                yield (*key, "default_on", j), f"{address} is not listened on", "write it in listen, too"
            if address in default:
                yield (*key, "default_on", j), f"a duplicate default server for {address}", None
            default.add(address)
        for j, name in enumerate(endpoint.server_names):
            for address in dict.fromkeys(endpoint.listen):
                keys = names.setdefault(address, MapKeys())
                yield from text_problems((*key, "server_names", j), partial(keys.add, name, True))


def _server_problems(key: Key, endpoint: HttpServer) -> Iterator[Problem]:
    if not endpoint.listen:
        yield (*key, "listen"), "no address", "give at least one, for example 127.0.0.1:8081"
    for name in ("header_timeout", "body_timeout", "send_timeout"):
        yield from duration_problems((*key, name), getattr(endpoint, name))
    yield from duration_problems((*key, "keepalive_timeout"), endpoint.keepalive_timeout, zero=True)
    if endpoint.keepalive_requests < 0:
        yield (*key, "keepalive_requests"), f"{endpoint.keepalive_requests} is too few", "write 0 or more"
    yield from _shared_problems(key, endpoint.access, endpoint.headers, endpoint.access_logs)
    if not endpoint.locations:
        yield (*key, "location"), "no location", "give at least one, with a path"
    seen: set[tuple[str, bool]] = set()
    for i, location in enumerate(endpoint.locations):
        here = (*key, "location", i)
        if (location.path, location.exact) in seen:
            yield (*here, "path"), f'duplicate location "{location.path}"', None
        seen.add((location.path, location.exact))
        yield from _location_problems(here, location)


def _location_problems(key: Key, location: Location) -> Iterator[Problem]:
    if not location.path.startswith("/"):
        yield (*key, "path"), f'"{location.path}" is not a path', "begin it with /"
    if not 200 <= location.status <= 599:
        yield (*key, "status"), f"{location.status} is not a final HTTP status", "write a number from 200 to 599"
    if location.status in _REDIRECTS and not location.body.isprintable():
        yield (*key, "body"), "not a URL", 'write for example "https://example.org/"'
    yield from text_problems((*key, "body"), partial(compile_http, location.body))
    if not location.content_type.isprintable():
        yield (*key, "content_type"), "not a media type", 'write for example "text/plain"'
    if location.stub_status and (location.body or location.status != 200):
        yield (*key, "stub_status"), "stub_status makes the answer itself", "leave status and body out"
    yield from duration_problems((*key, "keepalive_timeout"), location.keepalive_timeout, zero=True)
    if location.keepalive_requests is not None and location.keepalive_requests < 0:
        yield (*key, "keepalive_requests"), f"{location.keepalive_requests} is too few", "write 0 or more"
    yield from _shared_problems(key, location.access, location.headers, location.access_logs or ())


def _shared_problems(
    key: Key, access: Sequence[str], headers: Sequence[Header], logs: Sequence[AccessLog]
) -> Iterator[Problem]:
    for i, text in enumerate(access):
        yield from text_problems((*key, "access", i), partial(parse_access, text))
    for i, header in enumerate(headers):
        yield from text_problems((*key, "header", i), partial(check_header, header))
    for i, log in enumerate(logs):
        yield from access_log_problems((*key, "access_log", i), log, OF_REQUESTS)


def check_header(header: Header) -> None:
    """Raises :class:`ValueFault` where answers cannot carry it."""
    if not _NAME.fullmatch(header.name):
        raise ValueFault(f'"{header.name}" is not a name; write for example "Cache-Control"')
    if header.name.lower() in _OWN:
        raise ValueFault(f"{header.name} is the endpoint's own to say; leave it out")
    if not header.value.isprintable():
        raise ValueFault("not what a header can say; write it on one line")
    compile_http(header.value)
