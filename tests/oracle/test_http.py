"""Health endpoints beside nginx's own ``http {}``, with one configuration: whatever is asked, in whatever way."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
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
    {folders}
    add_header X-Level http;
    add_header X-Always yes always;
    server {{
        listen 127.0.0.1:{port};
        server_name one.example .all.example two.* "";
        location /healthz {{ return 200 "ok"; }}
        location = /exact {{ return 204; }}
        location /json {{ default_type application/json; return 200 '{{}}'; add_header X-Level location; }}
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
        server_name four.example *.four.example;
        keepalive_timeout 60;
        add_header X-Level server;
        return 302 /elsewhere;
        location /healthz {{ return 200 "never"; }}
    }}
}}
"""


_FOLDERS = """\
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
"""


class _Ports(NamedTuple):
    nginx: int
    ours: int


class _Seen(NamedTuple):
    status: int
    content_type: str | None
    location: str | None
    headers: tuple[str, ...]
    body: str
    kept: bool


def _nobody(*_arguments: Any) -> Any:
    raise AssertionError("nobody asks for that")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Ports]:
    directory = tmp_path_factory.mktemp("http")
    theirs, ours = listen(), listen()
    ports = _Ports(theirs.getsockname()[1], ours.getsockname()[1])
    file = directory / "ours.conf"
    file.write_text(_HTTP.format(port=ports.ours, folders=""))
    loaded = read_nginx(str(file))
    assert [fault.what for fault in validate(loaded.config, loaded.places)] == ["nothing to do: no listener"]
    admin = socket.socket(socket.AF_UNIX)
    admin.bind(str(directory / "admin.sock"))
    admin.listen()
    operations = Operations(_nobody, _nobody, _nobody, _nobody, _nobody, _nobody)
    virtual = Virtual(loaded.config.http, Address("127.0.0.1", ports.ours))
    with ExitStack() as running:
        config = PREAMBLE + _HTTP.format(port=ports.nginx, folders=_FOLDERS)
        running.enter_context(running_nginx(directory, config, [theirs]))
        running.enter_context(Admin(admin, ((ours, virtual),), operations, lambda: Clients(active=0, accepted=0)))
        yield ports


def _ask(port: int, request: bytes) -> _Seen | None:
    """What comes back, and whether the connection takes another request; None: nothing comes.

    After 204 waitress always closes it.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request.replace(b"PORT", str(port).encode()))
        response = http.client.HTTPResponse(client, method=request.split(b" ")[0].decode("latin-1"))
        try:
            response.begin()
            body = response.read().decode()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        return _Seen(
            response.status,
            response.getheader("Content-Type"),
            (response.getheader("Location") or "").replace(str(port), "PORT"),
            tuple(value for name in ("X-Level", "X-Always") for value in response.headers.get_all(name) or ()),
            _plain(body),
            response.status != 204 and _takes_another(client),
        )


def _takes_another(client: socket.socket) -> bool:
    try:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n")
        return client.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _plain(text: str) -> str:
    """Without the product's name, and without numbers of connections."""
    text = re.sub(rf"nginx/[\d.]+|kubelb/{re.escape(__version__)}", "PRODUCT", text)
    return re.sub(r"\d+", "N", text) if text.startswith("Active") else text


def _same(ports: _Ports, request: bytes) -> None:
    assert _ask(ports.ours, request) == _ask(ports.nginx, request), request


_METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
_PATHS = st.sampled_from(
    [
        *("/", "/healthz", "/healthz/x?a=b", "/exact", "/exactly", "/json", "/stub", "/closed", "/open", "/before"),
        *("/twice", "/moved", "/moved/on", "/here", "/url", "/gone", "/quiet", "/nowhere", "/a/../healthz", "//stub"),
    ]
)
_HOSTS = st.sampled_from(
    [
        *("one.example", "ONE.example", "one.example.", "one.example:80", "all.example", "a.all.example", "two.x.y"),
        *("www.all.example", "three.example", "four.example", "a.b.four.example", "five.example", "127.0.0.1:PORT"),
        *("[::1]", "[::1]:80", "a..b", "a/b", "", ".", ":80", "two.", "example", "x.one.example", "_"),
    ]
)
_VERSIONS = st.sampled_from(["1.0", "1.1", "1.1"])
_CONNECTIONS = st.sampled_from(["", "", "Connection: close\r\n", "Connection: keep-alive\r\n"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_METHODS, _PATHS, _VERSIONS, st.none() | _HOSTS, _CONNECTIONS)
@example("GET", "/healthz", "1.1", None, "")
@example("GET", "/here", "1.0", None, "")
@example("GET", "http://four.example/healthz", "1.1", "one.example", "")
def test_any_request(ports: _Ports, method: str, path: str, version: str, host: str | None, connection: str) -> None:
    name = "" if host is None else f"Host: {host}\r\n"
    _same(ports, f"{method} {path} HTTP/{version}\r\n{name}{connection}\r\n".encode())


@pytest.mark.parametrize(
    "request_",
    [
        b"GET\r\n\r\n",
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
    ],
)
def test_malformed_and_unusual_requests(ports: _Ports, request_: bytes) -> None:
    ours, theirs = (_ask(port, request_) for port in (ports.ours, ports.nginx))
    assert (ours and (ours.status, ours.kept)) == (theirs and (theirs.status, theirs.kept))
