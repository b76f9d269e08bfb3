"""Health endpoints beside nginx's own ``http {}``, with one configuration: whatever is asked, in whatever way."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kubelb import __version__
from kubelb.config.nginx.reader import read_nginx
from kubelb.config.validate import validate
from kubelb.config.values import Address
from kubelb.config.virtual import Virtual
from kubelb.control.admin import Admin, Operations
from kubelb.control.status import Clients
from tests.support.nginx import PREAMBLE, listen, running_nginx

_HTTP = """\
events {{}}
http {{
    access_log off;
    root /nowhere;
    {nginx_only}
    add_header X-Level http;
    add_header X-Always yes always;
    server {{
        listen 127.0.0.1:{port};
        server_name one.example .all.example two.* "" ÄÖ.example;
        location /healthz {{ return 200 "ok"; }}
        location = /exact {{ return 204; }}
        location /json {{ default_type application/json; return 200 '{{}}'; add_header X-Level location; }}
        location /typed {{ add_header Content-Type text/html; return 200 "two types"; }}
        location /stub {{ stub_status; }}
        location /closed {{ deny 127.0.0.1; stub_status; }}
        location /open {{ allow 127.0.0.0/8; deny all; stub_status; }}
        location /before {{ deny all; return 200 "returned before"; }}
        location /twice {{ return 503 "no"; return 200 "yes"; }}
        location ^~ /moved {{ return 301 http://elsewhere.example/x; }}
        location /here {{ return 308 /there; }}
        location /url {{ return https://elsewhere.example/; }}
        location /gone {{ return 410; }}
        location /quiet {{ return 444; }}
        location /none {{ return 304; }}
        location /some {{ return 304 $uri; }}
        location /seen {{
            return 200 "{seen}";
            add_header X-Seen "$request_method $status $uri";
        }}
        location /told {{
            return 418 "$arg_a$http_x_a";
            add_header x-told-BY "$cookie_a ${{cookie_b}}" always;
            add_header X-Not $arg_nothing always;
        }}
        location /page {{ return 503; add_header X-Page "$status $request" always; }}
        location /empty {{ return 503 $arg_nothing; }}
        location /secure {{ return 301 https://$host$request_uri; }}
        location /same {{ return 302 $request_uri; }}
        location /scheme {{ return $scheme://$host:$server_port$uri$is_args$args; }}
        location /last {{ keepalive_timeout 0; return 200 $request_id; }}
        location /once {{ keepalive_requests 1; return 204; }}
    }}
    server {{
        listen 127.0.0.1:{port} default_server;
        server_name three.example www.all.example;
        deny all;
        location /healthz {{ return 200 "default"; }}
        location /stub {{ stub_status; }}
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name injected.example;
        return 301 http://injected.example$uri;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name six.example;
        stub_status;
        location = / {{ return 200; }}
    }}
    server {{
        listen unix:{unix};
        server_name .five.example;
        allow unix:;
        deny all;
        location /stub {{ stub_status; }}
        location /here {{ return 301 $uri; }}
        location / {{ return 200 "{seen}"; }}
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name four.example *.four.example;
        keepalive_timeout 60;
        add_header X-Level server;
        return 302 /elsewhere;
        location /healthz {{ return 200 "never"; }}
    }}
}}
"""


_SEEN = " ".join(
    f"{name}=[${name}]"
    for name in (
        *(
            "arg_",
            "arg_a",
            "arg_b",
            "args",
            "binary_remote_addr",
            "body_bytes_sent",
            "bytes_sent",
            "cookie_a",
            "cookie_b",
        ),
        *("connection_requests", "content_length", "content_type", "document_uri", "host", "hostname", "http_host"),
        *(
            "http_cookie",
            "http_x_a",
            "http_x_forwarded_for",
            "https",
            "is_args",
            "proxy_protocol_addr",
            "query_string",
        ),
        *("realip_remote_addr", "remote_addr", "remote_user", "request", "request_completion", "request_length"),
        *("request_method", "request_uri", "scheme", "server_addr", "server_name", "server_port", "server_protocol"),
        *("status", "uri"),
    )
)
_NGINX_ONLY = """\
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    lingering_timeout 50ms;
"""
"""Folders that nginx may write to, and how long it waits for more of a request that it does not read."""


Where = int | str
"""A port, or the path of a unix socket."""


class _Ports(NamedTuple):
    nginx: int
    ours: int
    nginx_unix: str
    ours_unix: str


class _Seen(NamedTuple):
    version: int
    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    kept: bool


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def _nobody(*_arguments: Any) -> Any:
    raise AssertionError("nobody asks for that")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Ports]:
    directory = tmp_path_factory.mktemp("http")
    theirs, ours = listen(), listen()
    unix, ours_unix = str(directory / "a.sock"), listening(directory / "b.sock")
    ports = _Ports(theirs.getsockname()[1], ours.getsockname()[1], unix, ours_unix.getsockname())
    file = directory / "ours.conf"
    file.write_text(_HTTP.format(port=ports.ours, unix=ports.ours_unix, nginx_only="", seen=_SEEN))
    loaded = read_nginx(str(file))
    assert [fault.what for fault in validate(loaded.config, loaded.places)] == ["nothing to do: no listener"]
    admin = listening(directory / "admin.sock")
    operations = Operations(_nobody, _nobody, _nobody, _nobody, _nobody, _nobody)
    servers = loaded.config.http
    http = (
        (ours, Virtual(servers, Address("127.0.0.1", ports.ours))),
        (ours_unix, Virtual(servers, Address(f"unix:{ports.ours_unix}", 0))),
    )
    with ExitStack() as running:
        config = PREAMBLE + _HTTP.format(port=ports.nginx, unix=unix, nginx_only=_NGINX_ONLY, seen=_SEEN)
        running.enter_context(running_nginx(directory, config, [theirs]))
        running.enter_context(Admin(admin, http, operations, lambda: Clients(active=0, accepted=0)))
        yield ports


def _connect(where: Where) -> socket.socket:
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), timeout=30)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(where)
    return client


def _ask(port: Where, request: bytes) -> _Seen | None:
    """What comes back, and whether the connection takes another request; None: nothing comes."""
    with _connect(port) as client:
        client.sendall(request.replace(b"PORT", str(port).encode()))
        response = http.client.HTTPResponse(client, method=request.split(b" ")[0].decode("latin-1"))
        try:
            response.begin()
            body = response.read()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        headers = [(name, _plain(value, port)) for name, value in response.getheaders() if name not in _OWN]
        return _Seen(
            response.version,
            f"{response.status} {response.reason}",
            tuple(sorted(headers)),
            _plain(body.decode("latin-1"), port).encode("latin-1"),
            _takes_another(client),
        )


def _takes_another(client: socket.socket) -> bool:
    try:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n")
        return client.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _plain(text: str, port: Where) -> str:
    """Without the product's name, the port, and numbers that are counted."""
    text = re.sub(rf"nginx/[\d.]+|kubelb/{re.escape(__version__)}", "PRODUCT", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "IDENTITY", text.replace(str(port), "PORT"))
    return re.sub(r"\d+", "N", text) if text.startswith("Active") else text


_OWN = ("Date", "Server")


def _same(ports: _Ports, request: bytes) -> None:
    assert _ask(ports.ours, request) == _ask(ports.nginx, request), request


_METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "A-B_C"])
_PATHS = st.sampled_from(
    [
        *("/", "/healthz", "/exact", "/exactly", "/json", "/stub", "/closed", "/open", "/before", "/twice", "/moved"),
        *("/moved/on", "/here", "/url", "/gone", "/quiet", "/nowhere", "/none", "/some", "/seen", "/seen/", "/told"),
        "/typed",
        *("/page", "/empty", "/secure", "/same", "/scheme", "/last", "/once"),
    ]
)
_PIECES = st.sampled_from(
    [
        *(
            "",
            "/",
            "//",
            ".",
            "..",
            "/../",
            "/./",
            "%2e",
            "%2E%2e",
            "%2f",
            "%2F..%2fa",
            "%",
            "%4",
            "%zz",
            "%00",
            "a",
            "seen",
        ),
        *(
            "%23",
            "%3f",
            "%25",
            "#",
            "?",
            "&",
            "=",
            "a=1",
            "&A=2",
            "b=%20",
            "+",
            "%2B",
            "%20",
            "%e4",
            "\xe4",
            "~",
            "$uri",
            "\\",
        ),
        *("a=", "&a", "aa=3", "&b=4#c", "*", '"', "<", ";"),
    ]
)
_TAILS = st.lists(_PIECES, max_size=6).map("".join)
_HOSTS = st.sampled_from(
    [
        *("one.example", "ONE.example", "one.example.", "one.example:80", "all.example", "a.all.example", "two.x.y"),
        *("www.all.example", "three.example", "four.example", "a.b.four.example", "six.example", "127.0.0.1:PORT"),
        *(
            "[::1]",
            "[::1]:80",
            "a..b",
            "a/b",
            "",
            ".",
            ":80",
            "two.",
            "example",
            "x.one.example",
            "_",
            "\xc4.example",
            "\xc3\x84\xc3\x96.Example",
        ),
    ]
)
_VERSIONS = st.sampled_from(["1.0", "1.1", "1.1", "1.2", "2.0", "3.7"])
_ORIGINS = st.sampled_from(
    ["", "", "", "http://four.example", "HTTP://One.Example:8", "ftp://[::1]", "http://", "http://a_b"]
)
_VALUES = st.sampled_from(
    [
        "",
        "x",
        " a=1; b=2",
        "a=1,b=2",
        "b; a",
        "a;a=3",
        " B = 5 ;a=6",
        "a= ",
        "\xe4\x80",
        "%0d%0a",
        '"',
        "$uri",
        "x\ty",
    ]
)
_HEADERS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["Cookie", "cookie", "X-A", "x-a", "X_A", "X.A", "X-Forwarded-For", "Content-Type"]),
            _VALUES,
        ),
        st.tuples(
            st.just("Connection"), st.sampled_from(["close", "keep-alive", "Keep-Alive, x", "CLOSE", "upgrade"])
        ),
        st.tuples(
            st.just("Authorization"),
            st.sampled_from(["Basic YTpi", "basic  YWI6", "Basic OmE=", "Basic ??", "Bearer YTpi"]),
        ),
        st.tuples(st.just("User-Agent"), _VALUES),
    ),
    max_size=5,
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_METHODS, _ORIGINS, _PATHS, _TAILS, _VERSIONS, st.none() | _HOSTS, _HEADERS)
@example("GET", "", "/healthz", "", "1.1", None, [])
@example("GET", "", "/here", "", "1.0", None, [])
@example("GET", "", "/typed", "", "1.1", "one.example", [])
@example("GET", "http://four.example", "/healthz", "", "1.1", "one.example", [])
@example("GET", "", "/seen", "?a=1&b=2#c", "1.1", "one.example", [("Cookie", "a=1"), ("cookie", "b=2")])
@example("GET", "", "/same", "//a/../b", "1.1", "one.example", [("Cookie", "a=1"), ("cookie", "b=2")])
def test_any_request(
    ports: _Ports,
    method: str,
    origin: str,
    path: str,
    tail: str,
    version: str,
    host: str | None,
    headers: list[tuple[str, str]],
) -> None:
    named = ([] if host is None else [("Host", host)]) + headers
    lines = [f"{method} {origin}{path}{tail} HTTP/{version}", *(f"{name}: {value}" for name, value in named), "", ""]
    _same(ports, "\r\n".join(lines).encode("latin-1"))


@pytest.mark.parametrize("path", ["/stub", "/here", "/", "/other?a=1"])
@pytest.mark.parametrize("rest", ["1.0", "1.0\r\nHost: six.example", "1.1\r\nHost: a.five.example", "1.1"])
def test_a_unix_socket(ports: _Ports, path: str, rest: str) -> None:
    request = f"GET {path} HTTP/{rest}\r\n\r\n".encode()
    assert _ask(ports.ours_unix, request) == _ask(ports.nginx_unix, request)


def test_a_header_is_no_place_for_two(ports: _Ports) -> None:
    """nginx says what the path says: another header, which is not what anybody wants."""
    request = b"GET /%0d%0aX-Level:%20mine HTTP/1.1\r\nHost: injected.example\r\n\r\n"
    ours, theirs = (_ask(port, request) for port in (ports.ours, ports.nginx))
    assert ours is not None
    assert theirs is not None
    assert ("X-Level", "mine") in theirs.headers
    assert dict(ours.headers)["Location"] == "http://injected.example/%0D%0AX-Level: mine"
    assert ("X-Level", "http") in ours.headers


@pytest.mark.parametrize(
    "request_",
    [
        b"GET\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"HEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/3.0\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /healthz HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost a\r\n\r\n",
        b"GET / HTP/1.1\r\nHost: a\r\n\r\n",
        b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"\r\nGET /healthz HTTP/1.1\r\nHost: one.example\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: one.example\r\nContent-Length: 2\r\n\r\nab",
        b"POST /healthz HTTP/1.1\r\nHost: one.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.0\n\n",
        b"\nGET /healthz HTTP/1.1\nHost: one.example\n\n",
        b"GET /healthz HTTP/1.1\nHost: one.example\r\nConnection: close\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: one.example\r\nExpect: 100-continue\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: one.example\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: one.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
        b"GET /told HTTP/1.1\r\nHost: one.example\r\nX-A: \x01\x1b[1m\x7f\xff\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: one.example\r\nX@(: a\r\nX\xff: b\r\nnocolon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost\r\n\r\n",
        *(
            b"GET /healthz HTTP/1.1\r\nHost: one.example\r\n" + line + b"\r\n\r\n"
            for line in (
                b"A : b",
                b" A: b",
                b"\tA: b",
                b": a",
                b"A\0: b",
                b"A\x7f: b",
                b"A: b\0",
                b"A: b\rc",
                b"A\r: b",
            )
        ),
        b"GET /healthz?".ljust(32 << 10, b"a"),
    ],
)
def test_malformed_and_unusual_requests(ports: _Ports, request_: bytes) -> None:
    ours, theirs = (_ask(port, request_) for port in (ports.ours, ports.nginx))
    assert (ours and ours[:2]) == (theirs and theirs[:2])


def _everything(where: int, request: bytes) -> bytes:
    """All that comes, until the connection ends."""
    with _connect(where) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(10_000), b""))


@pytest.mark.parametrize("request_", [b"HEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD /gone HTTP/1.0\r\n\r\n"])
def test_head_gets_no_body(ports: _Ports, request_: bytes) -> None:
    for port in (ports.ours, ports.nginx):
        assert _everything(port, request_).partition(b"\r\n\r\n")[2] == b""


def test_one_after_the_other(ports: _Ports) -> None:
    """Each is counted, and where a location says so the connection ends."""
    paths = ("/seen", "/exact", "/none", "/seen", "/once", "/seen")
    request = "".join(f"GET {path} HTTP/1.1\r\nHost: one.example\r\n\r\n" for path in paths).encode()
    ours, theirs = (_everything(port, request) for port in (ports.ours, ports.nginx))
    assert re.findall(rb"HTTP/1.1 \d+|connection_requests=\[\d+\]", ours) == [
        *(b"HTTP/1.1 200", b"connection_requests=[1]", b"HTTP/1.1 204", b"HTTP/1.1 304"),
        *(b"HTTP/1.1 200", b"connection_requests=[4]", b"HTTP/1.1 204"),
    ]
    assert re.findall(rb"HTTP/1.1 \d+|Connection: \S+", ours) == re.findall(rb"HTTP/1.1 \d+|Connection: \S+", theirs)
