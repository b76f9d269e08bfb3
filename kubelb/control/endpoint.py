"""What a configured HTTP endpoint answers: nginx's ``location``, ``return`` and ``stub_status``; pure.

Seen with nginx 1.22 for every status code; the sources are ngx_http_core_module.c (locations),
ngx_http_parse.c (the normal form of a path), ngx_http_core_module.c:ngx_http_send_response and
ngx_http_special_response.c (answers with and without a text), ngx_http_stub_status_module.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kubelb import __version__
from kubelb.config.model import Location

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


def answer(locations: Iterable[Location], method: str, path: str, figures: Figures) -> Answer | None:
    """What a request gets; None: the connection is closed without a word. ``path`` is decoded, without the query."""
    location = find(locations, normal(path))
    if method == "TRACE":
        return _page(405)
    if location is None:
        return _page(404 if method in ("GET", "HEAD", "POST") else 405)
    if location.stub_status:
        return _text(200, _STUB_STATUS.format(figures)) if method in ("GET", "HEAD") else _page(405)
    return _fixed(location)


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


def _fixed(location: Location) -> Answer | None:
    status, text = location.status, location.body
    if status in _REDIRECTS:
        return _page(status, (("Location", text),))
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
    return Answer(_line(status), (("Content-Type", "text/html"), *headers), page.encode())


def _line(status: int) -> str:
    return f"{status} {_PHRASES.get(status, '')}"
