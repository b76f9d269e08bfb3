"""The same requests before nginx's ``http {}`` and kubelb's health endpoints: the lines of their access logs."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubelb.config.http_variables import logged_variables
from kubelb.config.variables import Worker
from kubelb.snapshot import SocketAddress
from tests.oracle.test_access_log import MARK, Line, count, fields
from tests.support.eventually import eventually
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import reserved, running

NAMES = [*sorted(logged_variables(Worker("", 0))), "sent_http_content_type", "sent_http_content_length"]
NAMES += [
    "sent_http_location",
    "sent_http_x_a",
    "sent_http_link",
    "sent_http_cache_control",
    "sent_http_server",
    "http_user_agent",
    "arg_a",
]
NUMBERED = {
    *("connection", "connection_time", "connections_active", "connections_reading", "connections_waiting"),
    *("connections_writing", "msec", "nginx_version", "pid", "realip_remote_port", "remote_port", "request_time"),
    *("server_port", "time_iso8601", "time_local"),
}
"""What cannot be the same in both is compared by its form."""
FORMATS = {
    "plain": " ".join(f"'{name}=${name}{MARK}'" for name in NAMES),
    "json": "escape=json " + " ".join(f"'{name}=${{{name}}}{MARK}'" for name in NAMES),
    "none": "escape=none '$request_uri ' '$http_user_agent\"'",
}
_FOLDERS = "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;"
_HOST = b"Host: a.example\r\n"
REQUESTS = (
    b"GET /all?a=1 HTTP/1.1\r\n" + _HOST + b'User-Agent: x"\\\xe4\ty\r\n\r\n',
    b"HEAD /all HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /all HTTP/1.0\r\n\r\n",
    b"GET /all\r\n\r\n",
    b"POST /all HTTP/1.1\r\n" + _HOST + b"Content-Length: 0\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /moved HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /typed HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /quiet HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /closed HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /off HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /own HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"TRACE /all HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /a HTTP/1.1\r\n\r\n",
    b"GET /all HTTP/1.1\r\n" + _HOST + b"\r\nGET /all?two HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /last HTTP/1.1\r\n" + _HOST + b"\r\n",
)


def http(where: SocketAddress, logs: Path, folders: str = "") -> str:
    formats = "".join(f"log_format {name} {text};" for name, text in FORMATS.items())
    written = "".join(f"access_log {logs}/{name}.log {name};" for name in FORMATS)
    return f"""http {{ {folders} {formats} {written}
        access_log {logs}/combined.log;
        access_log {logs}/if.log plain if=$arg_a;
        server {{
            listen {where[0]}:{where[1]};
            server_name a.example;
            add_header X-A $uri;
            location /all {{ return 200 "text $uri"; }}
            location /moved {{ return 301 /there; }}
            location /nothing {{ return 204; }}
            location /typed {{ add_header Content-Type text/html; add_header X-A 1; add_header X-A 2;
                add_header Link a; add_header Link b; add_header Cache-Control c; add_header Cache-Control d;
                return 200; }}
            location /quiet {{ return 444; }}
            location /closed {{ deny all; stub_status; }}
            location /off {{ access_log off; return 200; }}
            location /own {{ access_log {logs}/own.log combined; return 200 own; }}
            location /last {{ keepalive_timeout 0; return 503; }}
        }}
    }}"""


def ask(where: SocketAddress, request: bytes) -> None:
    """Until nothing more is to come."""
    with socket.create_connection(where, timeout=30) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        while client.recv(1 << 16):
            pass


def play(where: SocketAddress, directory: Path) -> None:
    """The next request when the lines of the one before are there."""
    seen = 0
    for request in REQUESTS:
        ask(where, request)
        seen += request.count(b"Host: a") or 1
        total = lambda: count(directory / "json.log") + count(directory / "own.log")  # noqa: E731
        seen -= b"/off" in request
        eventually(lambda seen=seen, total=total: total() == seen, f"{request!r} is logged")  # type: ignore[misc]


@contextmanager
def by_nginx(directory: Path) -> Iterator[SocketAddress]:
    sock = listen()
    where: SocketAddress = sock.getsockname()
    config = f"{PREAMBLE} user root root; worker_processes 1; events {{}} {http(where, directory, _FOLDERS)}"
    with running_nginx(directory, config, [sock]):
        yield where


@contextmanager
def by_kubelb(directory: Path) -> Iterator[SocketAddress]:
    with reserved() as stream, reserved() as where:
        file = directory / "nginx.conf"
        server = f"server {{ listen {stream[0]}:{stream[1]}; proxy_pass 127.0.0.1:1; }}"
        config = f"error_log stderr info; events {{}} stream {{ {server} }} {http(where, directory)}"
        file.write_text(config)
        with running(directory, "--nginx-conf", str(file)):
            yield where


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directories with nginx's and kubelb's."""
    made = []
    with ExitStack() as stack:
        for run in (by_nginx, by_kubelb):
            directory = tmp_path_factory.mktemp(run.__name__)
            play(stack.enter_context(run(directory)), directory)
            made.append(directory)
    return made[0], made[1]


def alike(line: Line) -> Line:
    return {
        name: re.sub(r"[0-9]+|(?<=^)[a-f0-9]{32}$", "9", value) if name in NUMBERED else _plain(value)
        for name, value in line.items()
        if name not in ("request_id", *_LENGTHS)
    }


_LENGTHS = ("bytes_sent", "body_bytes_sent", "sent_http_content_length")
"""nginx's name is shorter: they are compared where they do not depend on it."""


def _plain(value: str) -> str:
    return re.sub(r":[0-9]{4,5}\b", ":PORT", value)


@pytest.mark.parametrize("name", ["plain", "json", "if"])
def test_every_field_of_every_line(name: str, logs: tuple[Path, Path]) -> None:
    theirs, ours = (fields(directory / f"{name}.log") for directory in logs)
    assert len(theirs) == (1 if name == "if" else len(REQUESTS) - 1)
    for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
        assert (number, alike(other)) == (number, alike(one))


def test_the_bytes_of_fixed_answers(logs: tuple[Path, Path]) -> None:
    """Their own name is in the heads of both, and in pages."""
    theirs, ours = (fields(directory / "plain.log") for directory in logs)
    for one, other in zip(theirs, ours, strict=True):
        if one["uri"] == "/all" and one["status"] == "200":
            assert [other[name] for name in _LENGTHS[1:]] == [one[name] for name in _LENGTHS[1:]]
        assert (int(other["bytes_sent"]) > 0) == (int(one["bytes_sent"]) > 0)
        assert (int(other["body_bytes_sent"]) > 0) == (int(one["body_bytes_sent"]) > 0)


@pytest.mark.parametrize("name", ["combined", "own"])
def test_the_format_that_is_there_from_the_start(name: str, logs: tuple[Path, Path]) -> None:
    theirs, ours = (
        [
            re.sub(r"\[.*?\]|(?<=[0-9] )[0-9]+", "", line)
            for line in (directory / f"{name}.log").read_text().splitlines()
        ]
        for directory in logs
    )
    assert ours == theirs
    assert len(ours) == (1 if name == "own" else len(REQUESTS) - 1)


def test_bytes_as_they_are(logs: tuple[Path, Path]) -> None:
    theirs, ours = ((directory / "none.log").read_bytes() for directory in logs)
    assert ours == theirs


def test_a_location_may_not_be_logged(logs: tuple[Path, Path]) -> None:
    assert all(b"/off" not in file.read_bytes() for directory in logs for file in directory.glob("*.log"))
