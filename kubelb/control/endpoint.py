"""What a configured HTTP endpoint answers: nginx's ``location``, ``return`` and ``stub_status``; pure.

Seen with nginx 1.22 for every status code; the sources are ngx_http_core_module.c (locations),
ngx_http_parse.c (the normal form of a path), ngx_http_core_module.c:ngx_http_send_response and
ngx_http_special_response.c (answers with and without a text), ngx_http_header_filter_module.c (redirects), and in
modules/ ngx_http_stub_status_module.c, ngx_http_access_module.c and ngx_http_headers_filter_module.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kubelb import __version__
from kubelb.config.access import allowed, parse_access
from kubelb.config.model import Header, HttpServer, Location

_PHRASES = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    406: "Not Acceptable",
    408: "Request Time-out",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}
_TITLES = _PHRASES | {302: "Found", 401: "Authorization Required"}
_REDIRECTS = (301, 302, 303, 307, 308)
_SILENT = (408, 444, 499)
_BODILESS = (204, 304)
_LAST = (400, 413, 414, 500, 501)
_CARRY_HEADERS = (200, 201, 204, 206, 304, *_REDIRECTS)

_PAGE = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    "<hr><center>{product}</center>\r\n</body>\r\n</html>\r\n"
)
_STUB_STATUS = (
    "Active connections: {0.active} \nserver accepts handled requests\n {0.accepts} {0.accepts} {0.requests} \n"
    "Reading: {0.reading} Writing: {0.writing} Waiting: {0.waiting} \n"
)


@dataclass(frozen=True)
class Figures:
    """What ``stub_status`` shows. The connections are those of all clients; the rest is HTTP's alone."""

    active: int
    accepts: int
    """Connections taken, ever; none is ever dropped unhandled."""
    requests: int
    reading: int
    writing: int
    waiting: int


@dataclass(frozen=True)
class Answer:
    """Without ``Content-Length`` and whatever else the server itself knows to say."""

    status: str
    """Code and phrase."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    is_last: bool = False
    """Whether the connection ends with it."""


@dataclass(frozen=True)
class Request:
    """What of a request counts."""

    method: str
    path: str
    """Decoded, without the query."""
    client: str
    """The address it comes from."""
    origin: str
    """What it was sent to, such as ``http://127.0.0.1:8081``."""


def answer(server: HttpServer, request: Request, figures: Figures) -> Answer | None:
    """What a request gets; None: the connection is closed without a word."""
    location = find(server.locations, normal(request.path))
    if request.method == "TRACE":
        return _carrying(replace(_page(405), is_last=True), server.headers)
    given = _answer(location, server, request, figures)
    return given and _carrying(given, (location and location.headers) or server.headers)


def bad_request(server: HttpServer) -> Answer:
    """``server`` is the one that answers for unknown names."""
    return _carrying(_page(400), server.headers)


def _answer(location: Location | None, server: HttpServer, request: Request, figures: Figures) -> Answer | None:
    rules = (location and location.access) or server.access
    if not allowed([parse_access(rule) for rule in rules], request.client):
        return _page(403)
    if location is None:
        return _page(404 if request.method in ("GET", "HEAD", "POST") else 405)
    if location.stub_status:
        return _text(200, _STUB_STATUS.format(figures)) if request.method in ("GET", "HEAD") else _page(405)
    return _fixed(location, request.origin)


def _carrying(given: Answer, headers: Iterable[Header]) -> Answer:
    """With those of ``headers`` that an answer of its status has."""
    usual = int(given.status[:3]) in _CARRY_HEADERS
    more = tuple((one.name, one.value) for one in headers if one.value and (usual or one.always))
    return replace(given, headers=given.headers + more)


def find(locations: Iterable[Location], path: str) -> Location | None:
    """The exact location, else the one with the longest prefix of ``path``; None where there is neither."""
    fitting = [one for one in locations if path == one.path or (not one.exact and path.startswith(one.path))]
    return max(fitting, key=lambda one: (one.exact, len(one.path)), default=None)


def normal(path: str) -> str:
    """``path`` with ``.``, ``..`` and repeated slashes resolved, as locations are compared with it."""
    parts: list[str] = []
    pieces = path.split("/")[1:]
    for piece in pieces:
        if piece == "..":
            del parts[-1:]
        elif piece not in ("", "."):
            parts.append(piece)
    directory = bool(parts) and pieces[-1] in ("", ".", "..")
    return "/" + "/".join(parts) + ("/" if directory else "")


def _fixed(location: Location, origin: str) -> Answer | None:
    status, text = location.status, location.body
    if status in _REDIRECTS:
        return _page(status, (("Location", origin + text if text.startswith("/") else text),))
    if status < 400 or text:
        return _text(status, text, location.content_type)
    if status in _SILENT:
        return None
    return _page(status) if status in _TITLES else Answer(_line(status))


def _text(status: int, text: str, content_type: str = "text/plain") -> Answer:
    if status in _BODILESS:
        return Answer(_line(status))
    return Answer(_line(status), (("Content-Type", content_type),), text.encode())


def _page(status: int, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    page = _PAGE.format(title=f"{status} {_TITLES[status]}", product=f"kubelb/{__version__}")
    return Answer(_line(status), (("Content-Type", "text/html"), *headers), page.encode(), status in _LAST)


def _line(status: int) -> str:
    return f"{status} {_PHRASES.get(status, '')}"
