"""Clients of a health endpoint that say nothing, little, or much: kubelet's question is answered all the same."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.values import Address, Duration
from kubelb.config.virtual import Virtual
from kubelb.control.admin import Admin, Operations
from kubelb.control.status import Clients
from tests.support.eventually import eventually
from tests.support.log import DEADLINE
from tests.support.nginx import listen

_CROWD = 500
_QUICK = Duration(0.3)
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
_BODY_OF_HEALTHZ = b"x" * 1000

_MIRROR = Location(
    path="/",
    status=301,
    body="/$uri?$args$http_x$cookie_a$remote_user",
    headers=(
        Header(name="X-Request", value="$request" * 16, always=True),
        Header(
            name="X-Said", value="$uri $host $http_host $http_cookie $arg_a $remote_user $content_type", always=True
        ),
    ),
)
"""It says whatever it is told."""


def _nobody(*_arguments: Any) -> Any:
    raise AssertionError("nobody asks for that")


@contextlib.contextmanager
def _endpoint(directory: Path, **options: Any) -> Iterator[tuple[str, int]]:
    sock, admin = listen(), socket.socket(socket.AF_UNIX)
    where: tuple[str, int] = sock.getsockname()
    admin.bind(str(directory / "admin.sock"))
    admin.listen()
    locations = (Location(path="/healthz", body=_BODY_OF_HEALTHZ.decode()), _MIRROR)
    server = HttpServer(listen=(Address(*where),), locations=locations, **options)
    operations = Operations(_nobody, _nobody, _nobody, _nobody, _nobody, _nobody)
    virtual = Virtual((server,), Address(*where))
    with Admin(admin, ((sock, virtual),), operations, lambda: Clients(active=0, accepted=0)):
        yield where


def _connect(where: tuple[str, int]) -> socket.socket:
    return socket.create_connection(where, timeout=DEADLINE)


def _is_answered(where: tuple[str, int]) -> bool:
    with _connect(where) as client:
        client.sendall(_REQUEST)
        return client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "said",
    [
        *(b"", b"GET /hea", _REQUEST, _REQUEST * 100, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"),
        b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"%41" * 3000),
        b"GET /mirror HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
    ],
)
def test_a_crowd_keeps_nobody_from_being_answered(tmp_path: Path, said: bytes) -> None:
    """They wait, ask for half, read nothing, or owe a body: with limits in time that are far away."""
    far = Duration(3600)
    limits = dict.fromkeys(("header_timeout", "body_timeout", "send_timeout", "keepalive_timeout"), far)
    with _endpoint(tmp_path, **limits) as where, ExitStack() as held:
        for _ in range(_CROWD):
            client = held.enter_context(_connect(where))
            with contextlib.suppress(ConnectionError):
                client.sendall(said)
        assert _is_answered(where)


def test_a_header_has_to_be_there_in_time_however_it_comes(tmp_path: Path) -> None:
    begun = time.monotonic()
    with _endpoint(tmp_path, header_timeout=_QUICK) as where, _connect(where) as client:
        client.settimeout(0.02)

        def is_closed() -> bool:
            try:
                client.send(b"G")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(is_closed, "the connection is closed")
        assert time.monotonic() - begun >= _QUICK


_BODY = b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789"
_WAITING = [
    ("header_timeout", b"", _REQUEST),
    ("header_timeout", _REQUEST[:20], _REQUEST[20:]),
    ("body_timeout", _BODY[:-8], _BODY[-8:]),
    ("keepalive_timeout", _REQUEST, _REQUEST),
]
"""What says how long a client may be silent that has said so much, and what it would say next."""


@pytest.mark.parametrize("setting", ["header_timeout", "body_timeout", "keepalive_timeout"])
def test_who_keeps_us_waiting_is_closed(tmp_path: Path, setting: str) -> None:
    """For so long, and as long as what is waited for may take: others have all the time they want."""
    limits = dict.fromkeys(("header_timeout", "body_timeout", "send_timeout", "keepalive_timeout"), Duration(3600))
    begun = time.monotonic()
    with _endpoint(tmp_path, **{**limits, setting: _QUICK}) as where, ExitStack() as held:
        clients = [held.enter_context(_connect(where)) for _ in _WAITING]
        for client, (_, said, _) in zip(clients, _WAITING, strict=True):
            client.sendall(said)
        assert _answer(clients[-1]).startswith(b"HTTP/1.1 200 ")
        for client, (limit, _, _) in zip(clients, _WAITING, strict=True):
            if limit == setting:
                assert client.recv(1) == b""
        assert time.monotonic() - begun >= _QUICK
        for client, (limit, _, rest) in zip(clients, _WAITING, strict=True):
            if limit != setting:
                client.sendall(rest)
                assert _answer(client).startswith(b"HTTP/1.1 200 ")


def _answer(client: socket.socket) -> bytes:
    """The next one, which has the body of /healthz."""
    said = b""
    while not said.endswith(_BODY_OF_HEALTHZ):
        piece = client.recv(10_000)
        assert piece, said
        said += piece
    return said


def test_an_answer_that_nobody_takes_is_given_up(tmp_path: Path) -> None:
    """Once nothing of it has been taken for so long; others go on."""
    begun = time.monotonic()
    with _endpoint(tmp_path, send_timeout=_QUICK, keepalive_requests=1 << 30) as where, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(DEADLINE)
        client.connect(where)
        with pytest.raises(ConnectionError):
            _ask_for_ever(client)
        assert time.monotonic() - begun >= _QUICK
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert _is_answered(where)


def _ask_for_ever(client: socket.socket) -> None:
    while True:
        client.sendall(_REQUEST * 1000)


def test_a_connection_is_good_for_so_many_requests(tmp_path: Path) -> None:
    with _endpoint(tmp_path, keepalive_requests=2) as where, _connect(where) as client:
        answers = b""
        client.sendall(_REQUEST * 3)
        with contextlib.suppress(ConnectionError):
            while data := client.recv(10_000):
                answers += data
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.count(b"Connection: close") == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [(b"GET /" + b"a" * 100_000, 414), (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 100_000, 400)],
)
def test_a_huge_header_is_refused(tmp_path: Path, said: bytes, status: int) -> None:
    with _endpoint(tmp_path) as where, _connect(where) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(said)
            assert client.recv(100).startswith(b"HTTP/1.1 %d " % status)
        assert _is_answered(where)


def test_a_huge_body_is_refused(tmp_path: Path) -> None:
    with _endpoint(tmp_path) as where, _connect(where) as client:
        client.sendall(b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413")


_HOSTILE = st.sampled_from(
    [
        *(
            b"\r",
            b"\n",
            b"\0",
            b"\r\n",
            b"\r\n\r\n",
            b"%0d%0a",
            b"%00",
            b"%",
            b" ",
            b"\t",
            b":",
            b"X-Evil: 1",
            b"\xff",
            b"\x7f",
        ),
        *(
            b"/..",
            b"?a=",
            b"#",
            b"HTTP/1.1",
            b"HTTP/1.0",
            b"Cookie: a=",
            b"Authorization: Basic ZQ0KWC1FdmlsOiAxOmE=",
        ),
        *(
            b"Host: a",
            b"Content-Length: 1",
            b"Transfer-Encoding: chunked",
            b"Connection: keep-alive",
            b"$uri",
            b"x" * 5000,
        ),
    ]
)
_PARTS = st.lists(_HOSTILE | st.binary(max_size=8), max_size=8).map(b"".join)
_SAID = {"server", "date", "content-type", "content-length", "location", "connection", "x-request", "x-said"}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with _endpoint(tmp_path_factory.mktemp("mirror"), header_timeout=_QUICK, body_timeout=_QUICK) as where:
        yield where


@settings(max_examples=400, deadline=None)
@given(_PARTS, _PARTS, _PARTS)
@example(b"%0d%0aX-Evil:%201", b"", b"")
@example(b"", b"\r\nHost: a\r\nAuthorization: Basic ZQ0KWC1FdmlsOiAxOmE=", b"")
def test_what_is_told_is_never_taken_for_ours(mirror: tuple[str, int], path: bytes, line: bytes, body: bytes) -> None:
    with _connect(mirror) as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET /" + path + b" HTTP/1.1" + line + b"\r\nHost: a\r\nConnection: close\r\n\r\n" + body)
            client.shutdown(socket.SHUT_WR)
        answers = b""
        with contextlib.suppress(OSError):
            while data := client.recv(100_000):
                answers += data
    assert not answers or answers.startswith((b"HTTP/1.1 ", b"<html>"))
    header, _, _ = answers.partition(b"\r\n\r\n")
    lines = header.split(b"\r\n")[1:] if answers.startswith(b"HTTP/") else []
    assert {one.partition(b":")[0].decode("latin-1").lower() for one in lines} <= _SAID
    assert not {b"\r", b"\n", b"\0"} & {bytes([byte]) for one in lines for byte in one}


def test_after_all_that_it_answers(mirror: tuple[str, int]) -> None:
    assert _is_answered(mirror)
