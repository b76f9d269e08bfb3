"""What a configured HTTP endpoint answers: nginx's ``location``, ``return`` and ``stub_status``; pure.

Seen with nginx 1.22 for every status code. The sources are ngx_http_core_module.c (locations, and
ngx_http_send_response), ngx_http_special_response.c (answers without a text), ngx_http_header_filter_module.c
(redirects), and in modules/ ngx_http_stub_status_module.c, ngx_http_access_module.c and
ngx_http_headers_filter_module.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kubelb import __version__
from kubelb.config.access import allowed, parse_access
from kubelb.config.http_head import Head
from kubelb.config.http_variables import Asked, Connections, Given, compile_http
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.model.logs import AccessLog
from kubelb.config.values import Duration
from kubelb.config.variables import Client, Ended, Opening, Worker

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
_LAST = (400, 413, 414, 500, 501)
_ENDS_A_LINE = (b"\r", b"\n", b"\0")
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
    wait: Duration | None = None
    """How long the connection is then kept for the next request; None: that is not for the answer to say."""
    is_silent: bool = False
    """The connection is closed without a word; the status is for the log alone."""
    access_logs: tuple[AccessLog, ...] = ()
    """Where the request is logged."""


@dataclass(frozen=True)
class Request:
    """What comes to a server, and when."""

    head: Head
    client: Client
    at: datetime
    """Now, in local time."""
    number: int = 1
    """On its connection; the first is 1."""
    identity: bytes = bytes(16)
    """Random."""
    seconds: float = 0.0
    """Since it began."""
    connected: float = 0.0
    """Seconds since its connection came."""
    is_pipelined: bool = False
    """Whether it came before the answer to the one before."""


class _Teller:
    """Evaluates the texts of one answer."""

    def __init__(self, server: HttpServer, request: Request, figures: Figures, worker: Worker) -> None:
        self._server = server
        self._request = request
        self._figures = figures
        self._worker = worker

    def text(self, text: str, status: int) -> bytes:
        if "$" not in text:
            return text.encode()
        return compile_http(text, self._worker)(asked(self._server, self._request, self._figures, status))

    def header(self, text: str, status: int) -> str:
        """What might end its line is encoded as in a URL: a path or a user's name may have that."""
        value = self.text(text, status)
        for byte in _ENDS_A_LINE:
            value = value.replace(byte, b"%%%02X" % byte[0])
        return value.decode(errors="surrogateescape")


def asked(server: HttpServer, request: Request, figures: Figures, status: int, given: Given | None = None) -> Asked:
    """All that has a name."""
    opening = Opening(request.client, 0.0, ())
    return Asked(
        head=request.head,
        so_far=Ended(opening, status, now=0.0, at=request.at, bytes_up=0, bytes_down=0),
        server_name=_first_name(server.server_names),
        connections=Connections(figures.active, figures.reading, figures.writing, figures.waiting),
        number=request.number,
        identity=request.identity,
        seconds=request.seconds,
        connected=request.connected,
        is_pipelined=request.is_pipelined,
        given=given,
    )


def _first_name(names: Sequence[str]) -> str:
    return names[0].removeprefix(".") if names else ""


def answer(server: HttpServer, request: Request, figures: Figures, worker: Worker) -> Answer:
    """What a request gets.

    To one with a fault ``server`` is the one that answers for the name as far as that is known.
    """
    head = request.head
    teller = _Teller(server, request, figures, worker)
    if head.fault or head.method in (b"TRACE", b"CONNECT"):
        refusal = replace(_page(head.fault or 405), is_last=True, access_logs=server.access_logs)
        return _carrying(refusal, server.headers, teller)
    location = find(server.locations, head.path.decode(errors="surrogateescape"))
    given = _answer(location, server, request, figures, teller)
    logs = None if location is None else location.access_logs
    given = replace(given, access_logs=server.access_logs if logs is None else logs)
    if given.is_silent:
        return given
    given = _carrying(given, (location and location.headers) or server.headers, teller)
    return _lasting(given, location, server, request)


def _lasting(given: Answer, location: Location | None, server: HttpServer, request: Request) -> Answer:
    """``ngx_http_update_location_config`` (ngx_http_core_module.c)."""
    wait, most = server.keepalive_timeout, server.keepalive_requests
    if location is not None and location.keepalive_timeout is not None:
        wait = location.keepalive_timeout
    if location is not None and location.keepalive_requests is not None:
        most = location.keepalive_requests
    ends = given.is_last or not request.head.keeps or not wait or request.number >= most
    return replace(given, is_last=ends, wait=wait)


def _answer(
    location: Location | None, server: HttpServer, request: Request, figures: Figures, teller: _Teller
) -> Answer:
    rules = (location and location.access) or server.access
    method = request.head.method
    if not allowed([parse_access(rule) for rule in rules], request.client.remote[0]):
        return _page(403)
    if location is None:
        return _page(404 if method in (b"GET", b"HEAD", b"POST") else 405)
    if location.stub_status:
        return _text(200, _STUB_STATUS.format(figures).encode()) if method in (b"GET", b"HEAD") else _page(405)
    return _fixed(location, request, teller)


def _carrying(given: Answer, headers: Iterable[Header], teller: _Teller) -> Answer:
    """With those of ``headers`` that an answer of its status has, and that say something."""
    status = int(given.status[:3])
    due = [one for one in headers if one.always or status in _CARRY_HEADERS]
    more = [(one.name, teller.header(one.value, status)) for one in due]
    return replace(given, headers=given.headers + tuple((name, value) for name, value in more if value))


def find(locations: Iterable[Location], path: str) -> Location | None:
    """The exact location, else the one with the longest prefix of ``path``; None where there is neither."""
    fitting = [one for one in locations if path == one.path or (not one.exact and path.startswith(one.path))]
    return max(fitting, key=lambda one: (one.exact, len(one.path)), default=None)


def _fixed(location: Location, request: Request, teller: _Teller) -> Answer:
    status, text = location.status, location.body
    if status in _REDIRECTS:
        url = teller.header(text, status)
        return _page(status, (("Location", _origin(request) + url if url.startswith("/") else url),))
    if status < 400 or text:
        return _text(status, teller.text(text, status), location.content_type)
    if status in _SILENT:
        return Answer(_line(status), is_last=True, is_silent=True)
    return _page(status) if status in _TITLES else Answer(_line(status))


def _origin(request: Request) -> str:
    """What it was sent to, such as ``http://127.0.0.1:8081``."""
    host, port = request.client.local
    name = request.head.host.encode("latin-1").decode(errors="surrogateescape")
    if not name:
        name = f"[{host}]" if ":" in host and not host.startswith("unix:") else host
    return f"http://{name}" + (f":{port}" if port not in (0, 80) else "")


def _text(status: int, text: bytes, content_type: str = "text/plain") -> Answer:
    if status == 204:
        return Answer(_line(status))
    return Answer(_line(status), (("Content-Type", content_type),), text)


def _page(status: int, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    page = _PAGE.format(title=f"{status} {_TITLES[status]}", product=f"kubelb/{__version__}")
    return Answer(_line(status), (("Content-Type", "text/html"), *headers), page.encode(), status in _LAST)


def _line(status: int) -> str:
    return f"{status} {_PHRASES.get(status, '')}"
