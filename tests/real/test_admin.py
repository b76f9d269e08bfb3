"""The control process's HTTP, over real sockets, and beside nginx's own with the same locations."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from waitress import utilities

from kubelb import __version__, stats
from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.model.pools import PASSIVE
from kubelb.config.model.pools import Pool as PoolSettings
from kubelb.config.values import Address
from kubelb.config.virtual import Virtual
from kubelb.control import admin_channel, main, reloads, status
from kubelb.control.admin import Admin, Operations
from kubelb.control.commands import Affected, Command, CommandFault, Drain, Reply, Undrain
from kubelb.control.endpoint import _TITLES
from kubelb.control.sessions import Inquiry, Sessions
from kubelb.logqueue import LogQueue
from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.stats import Count
from kubelb.supervisor.listeners import listen_unix
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_CONTROL, TO_CONTROL
from kubelb.wire.messages import Ready, Stop
from tests.support import debian
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.requirements import open_files

SNAPSHOT = Snapshot(
    version=3,
    listeners=(),
    pools=(
        Pool(
            name="api",
            balance="least_conn",
            hash_key="$remote_addr",
            servers=(Server(slot=1, name="one:6443", address=("10.0.0.1", 6443)),),
        ),
    ),
)
HEALTH = (Location(path="/healthz"), Location(path="/stub_status", stub_status=True))


@pytest.fixture
def table() -> Iterator[stats.Table]:
    table = stats.Table(2)
    yield table
    table.close()


@contextmanager
def control(
    table: stats.Table,
    admin: socket.socket,
    *http: tuple[socket.socket, tuple[Location, ...]],
    orphan: bool = False,
) -> Iterator[None]:
    """The control process's main function on a thread, from its Ready on; the sockets become its own.

    It is told to stop, unless it finds the channel closed (``orphan``).
    """
    ours, theirs = Channel.pair(FROM_CONTROL, TO_CONTROL)
    where = Address("x", 1)
    servers = tuple(
        (sock, Virtual((HttpServer(listen=(where,), locations=locations),), where)) for sock, locations in http
    )
    row = table.row(table.rows - 1)
    setup = main.Setup(
        channel=theirs,
        table=table,
        row=row,
        config=Config(pools={"api": PoolSettings(servers=(), health=PASSIVE)}),
        reloaded=None,
        snapshot=SNAPSHOT,
        admin=admin,
        http=servers,
        web=None,
        pid=os.getpid(),
        upgrade_under_way=False,
        log_queue=(queue := LogQueue()),
        terminated=None,
    )
    thread = threading.Thread(target=main.run, args=(setup,), name="control")
    thread.start()
    try:
        told = select.poll()
        told.register(ours, select.POLLIN)
        assert told.poll(30_000), "control did not get ready"
        assert ours.receive() == Ready()
        yield
    finally:
        if not orphan:
            ours.send(Stop())
            thread.join()
        ours.close()
        thread.join()
        theirs.close()
        row.release()
        queue.close()


def admin_socket(directory: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(directory / adminclient.NAME))
    sock.listen()
    return sock


def ask(port: int, target: str, method: str = "GET") -> tuple[int, str, str | None, str | None, str]:
    """Status, phrase, Content-Type, Location and body."""
    with asking(port) as connection:
        connection.request(method, target)
        response = connection.getresponse()
        body = response.read().decode()
        return (
            response.status,
            response.reason,
            response.getheader("Content-Type"),
            response.getheader("Location"),
            body,
        )


def test_status_over_admin_sock(tmp_path: Path, table: stats.Table) -> None:
    table.row(1).add(1, Count.ACTIVE, 5)
    table.row(0).add(0, Count.OPENED, 9)
    with control(table, admin_socket(tmp_path)):
        first = adminclient.status(tmp_path)
        began = first.pools[0].servers[0].since
        assert began == pytest.approx(time.time() - time.monotonic(), abs=60)
        assert first == status.status(SNAPSHOT, table, os.getpid(), now=0, unix=began)
        assert first.pools[0].servers[0].active == 5
        table.row(0).add(0, Count.ACTIVE, 2)
        assert adminclient.status(tmp_path).clients == status.Clients(active=2, accepted=9)


def test_control_ends_when_the_supervisor_is_gone(tmp_path: Path, table: stats.Table) -> None:
    threads = threading.active_count()
    with control(table, admin_socket(tmp_path), (listen(), HEALTH), orphan=True):
        assert adminclient.status(tmp_path).snapshot == 3
    assert threading.active_count() == threads
    with pytest.raises(adminclient.AdminFault):
        adminclient.status(tmp_path)


REPLY = Reply(
    servers=(Affected(name="n:1", pool="api", address="[::1]:1", state="draining", active=3, changed=True),),
    warnings=("mind the gap",),
)


@contextmanager
def obeying(directory: Path, table: stats.Table) -> Iterator[list[Command]]:
    """admin.sock with somebody behind it who only writes down what is asked of him, and knows of no "nobody:1"."""
    asked: list[Command] = []

    def obey(command: Command) -> Reply:
        if command.server == "nobody:1":
            raise CommandFault('no server "nobody:1"; there are: n:1')
        asked.append(command)
        return REPLY

    def current() -> status.Status:
        return status.status(SNAPSHOT, table, os.getpid(), now=0, unix=0.0)

    def reload() -> tuple[str, ...]:
        raise AssertionError("nobody has asked for that")

    def list_sessions(_asked: Inquiry) -> Sessions:
        raise AssertionError("nor for that")

    def upgrade() -> int:
        raise AssertionError("nor for that")

    def stop(_how: object) -> None:
        raise AssertionError("nor for that")

    operations = Operations(
        status=current, command=obey, reload=reload, upgrade=upgrade, sessions=list_sessions, stop=stop
    )
    with Admin(admin_socket(directory), (), operations, lambda: status.clients(table)):
        yield asked


def test_commands_over_admin_sock(tmp_path: Path, table: stats.Table) -> None:
    commands: list[Command] = [Drain("n:1"), Undrain("n:1", "api"), Drain("[::1]:1", "käse")]
    with obeying(tmp_path, table) as asked:
        assert [adminclient.command(tmp_path, command) for command in commands] == [REPLY] * 3
        assert asked == commands
        with pytest.raises(adminclient.AdminFault, match=r'^no server "nobody:1"; there are: n:1$'):
            adminclient.command(tmp_path, Drain("nobody:1"))
        assert len(asked) == 3


def test_many_reloads_that_wait_keep_nobody_else_waiting(
    tmp_path: Path, table: stats.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a name server that does not answer, for one."""
    go_on = threading.Event()
    began: list[int] = []

    def reload(_reloads: object) -> tuple[str, ...]:
        began.append(1)
        assert go_on.wait(60)
        return ()

    monkeypatch.setattr(reloads.Reloads, "reload", reload)
    with control(table, admin_socket(tmp_path)), ExitStack() as held:
        for _ in range(10):
            operator = threading.Thread(target=adminclient.reload, args=(tmp_path,))
            operator.start()
            held.callback(operator.join)
        held.callback(go_on.set)
        eventually(lambda: len(began) == 10, "all of them wait")
        assert adminclient.status(tmp_path).snapshot == 3


@pytest.mark.parametrize(
    ("request_line", "body", "code", "allow", "text"),
    [
        ("GET /drain", b"", 405, b"POST", b"use POST"),
        ("GET /undrain?server=n:1", b"", 405, b"POST", b"use POST"),
        ("PUT /drain", b'{"server": "n:1"}', 405, b"POST", b"use POST"),
        ("POST /status", b"", 405, b"GET, HEAD", b"use GET, HEAD"),
        ("POST /drain/", b'{"server": "n:1"}', 404, None, b"there is only /status, /drain, /undrain"),
        ("POST /sessions", b"", 405, b"GET", b"use GET"),
        ("GET /sessions?servr=n:1", b"", 400, None, b"servr: unknown key; ask for ?server=host:port&pool=name"),
        ("GET /stop", b"", 405, b"POST", b"use POST"),
        ("POST /stop", b'{"graceful": true}', 400, None, b"graceful: unknown key; send nothing, or JSON"),
        ("POST /stop", b"now", 400, None, b'send nothing, or JSON: {"gracefully": true}'),
        ("POST /drain", b"", 400, None, b'send JSON: {"server": "host:port"}'),
        ("POST /drain", b"server=n:1", 400, None, b"not JSON; send JSON"),
        ("POST /drain", b'{"server": "n:1", "now": true}', 400, None, b"now: unknown key; send JSON"),
        ("POST /undrain", b'{"server": "\xff"}', 400, None, b"not JSON; send JSON"),
        ("POST /drain", b'{"server": "nobody:1"}', 404, None, b'no server "nobody:1"; there are: n:1'),
    ],
)
def test_what_is_wrong_with_a_request_is_said_and_nothing_is_done(
    tmp_path: Path, table: stats.Table, request_line: str, body: bytes, code: int, allow: bytes | None, text: bytes
) -> None:
    with obeying(tmp_path, table) as asked:
        answer = say(tmp_path, f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}", body)
        assert answer.startswith(b"HTTP/1.1 %d " % code)
        assert re.findall(rb"^Allow: (.*)\r$", answer, re.MULTILINE) == ([allow] if allow else [])
        assert text in answer
        assert asked == []


def say(directory: Path, head: str, body: bytes = b"") -> bytes:
    """What admin.sock answers to a request that is not made by our client."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(directory / adminclient.NAME))
        client.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
        with client.makefile("rb") as answers:
            return answers.read()


def test_the_length_of_a_request_is_limited(tmp_path: Path, table: stats.Table) -> None:
    with obeying(tmp_path, table) as asked:
        answer = say(tmp_path, f"POST /drain HTTP/1.1\r\nHost: x\r\nContent-Length: {(64 << 10) + 1}")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert asked == []


_GARBAGE = "this is not HTTP; send for example GET /status HTTP/1.1"


@pytest.mark.parametrize(
    ("said", "line", "text"),
    [
        (b"SSH-2.0\r\n\r\n", "400 Bad Request", _GARBAGE),
        (b"GET /status HTTP/1.1\r\nHost\r\n\r\n", "400 Bad Request", _GARBAGE),
        (b"POST /drain HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400 Bad Request", _GARBAGE),
        (b"POST /drain HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "400 Bad Request", _GARBAGE),
        (
            b"POST /drain HTTP/1.1\r\nContent-Length: 65537\r\n\r\n",
            "413 Content Too Large",
            "the body is too large; send less than 64 KiB",
        ),
        (
            (b"GET /status HTTP/1.1\r\nX: " + b"x" * (32 << 10))[: 32 << 10],
            "431 Request Header Fields Too Large",
            "the head is too large; send less than 32 KiB",
        ),
        (
            b"POST /drain HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "501 Not Implemented",
            "the body is encoded in another way than chunked; send it plain",
        ),
        (b"POST /reload HTTP/1.1\r\n\r\n", "500 Internal Server Error", "internal error; the log says more"),
    ],
)
def test_what_cannot_be_answered_gets_a_line_of_ours(
    tmp_path: Path, table: stats.Table, said: bytes, line: str, text: str
) -> None:
    with obeying(tmp_path, table) as asked, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(tmp_path / adminclient.NAME))
        client.sendall(said)
        with client.makefile("rb") as answers:
            head, _, body = answers.read().decode().partition("\r\n\r\n")
        assert head.splitlines()[0].partition(" ")[2] == line
        assert body == f"{text}\n"
        assert asked == []


def test_every_error_that_waitress_knows_has_a_line_of_ours() -> None:
    known = [utilities.Error]
    for kind in known:
        known += kind.__subclasses__()
    assert len(known) > 3
    assert {kind.code for kind in known} <= set(admin_channel._ERRORS)


def test_what_waitress_reports_is_an_event_of_ours() -> None:
    admin_channel.pass_on_warnings()
    said = logging.getLogger("waitress")
    with capture_logs() as events:
        said.warning("in words that are not ours")
        try:
            raise AssertionError
        except AssertionError:
            said.exception("in words that are not ours")
    assert [event["event"] for event in events] == ["admin_http", "internal_error"]
    assert events[1]["exc_info"][0] is AssertionError
    assert "words" not in str(events)


def test_admin_sock_has_nothing_else(tmp_path: Path, table: stats.Table) -> None:
    with control(table, admin_socket(tmp_path)), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(tmp_path / adminclient.NAME))
        client.sendall(
            b"GET /halt HTTP/1.1\r\nHost: x\r\n\r\nPOST /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        with client.makefile("rb") as answers:
            text = answers.read()
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"404", b"405"]


def test_no_kubelb_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(adminclient.AdminFault, match=r"admin\.sock: no such socket; is kubelb running.*\?$"):
        adminclient.status(tmp_path)
    admin_socket(tmp_path).close()
    with pytest.raises(adminclient.AdminFault, match=r"nobody listens; kubelb is not running any more$"):
        adminclient.status(tmp_path)
    with pytest.raises(adminclient.AdminFault, match=r"admin\.sock: no such socket; is kubelb running.*\?$"):
        adminclient.status(tmp_path / ("x" * 200))


def test_an_admin_sock_that_hangs_is_one_line(tmp_path: Path) -> None:
    with (
        contextlib.closing(admin_socket(tmp_path)),
        pytest.raises(adminclient.AdminFault, match=r"no answer in time$"),
    ):
        adminclient.status(tmp_path, timeout=0.05)


def test_an_answer_that_is_no_status_is_one_line(tmp_path: Path) -> None:
    def serve(listener: socket.socket, answer: bytes) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(answer)

    with contextlib.closing(admin_socket(tmp_path)) as listener:
        for answer, words in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "the answer is not a status: version: missing$"),
            (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "/status was answered with 500 Oh$"),
            (b"SSH-2.0\r\n", "the answer is not HTTP$"),
        ):
            thread = threading.Thread(target=serve, args=(listener, answer))
            thread.start()
            with pytest.raises(adminclient.AdminFault, match=words):
                adminclient.status(tmp_path)
            thread.join()


def test_the_listening_sockets_outlive_control(tmp_path: Path, table: stats.Table) -> None:
    with ExitStack() as held:
        admin = held.enter_context(admin_socket(tmp_path))
        endpoint = held.enter_context(listen())
        with control(table, admin.dup(), (endpoint.dup(), HEALTH)):
            assert ask(endpoint.getsockname()[1], "/healthz")[0] == 200
        waiting = held.enter_context(
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", endpoint.getsockname()[1], timeout=30))
        )
        waiting.request("GET", "/healthz")
        with control(table, admin.dup(), (endpoint.dup(), HEALTH)):
            assert waiting.getresponse().status == 200
            assert adminclient.status(tmp_path).snapshot == 3


def test_full_endpoints_leave_admin_sock_free(tmp_path: Path, table: stats.Table) -> None:
    endpoint = listen()
    address = endpoint.getsockname()
    with ExitStack() as held:
        held.enter_context(control(table, admin_socket(tmp_path), (endpoint, HEALTH)))
        for _ in range(300):
            held.enter_context(socket.create_connection(address))
        assert adminclient.status(tmp_path, timeout=30).snapshot == 3


def test_descriptors_above_1023_are_served(tmp_path: Path, table: stats.Table) -> None:
    with open_files(2048), ExitStack() as held:
        for _ in range(1100):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        endpoint = listen()
        port = endpoint.getsockname()[1]
        assert endpoint.fileno() > 1023
        with control(table, admin_socket(tmp_path), (endpoint, HEALTH)):
            assert ask(port, "/healthz")[0] == 200


HTTP = """\
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        root /nowhere;
        {locations}
    }}
}}
"""


def nginx_location(location: Location) -> str:
    sign = "= " if location.exact else ""
    if location.stub_status:
        return f"location {sign}{location.path} {{ stub_status on; }}"
    text = f" '{location.body}'" if location.body else ""
    kind = f"default_type {location.content_type}; "
    return f"location {sign}{location.path} {{ {kind}return {location.status}{text}; }}"


def http_block(port: int, locations: tuple[Location, ...]) -> str:
    return HTTP.format(port=port, locations="\n        ".join(map(nginx_location, locations)))


@contextmanager
def both(directory: Path, table: stats.Table, locations: tuple[Location, ...]) -> Iterator[tuple[int, int]]:
    """nginx's port and ours, with the same locations."""
    theirs, ours = listen(), listen()
    ports = theirs.getsockname()[1], ours.getsockname()[1]
    config = f"{PREAMBLE}events {{}}\n{http_block(ports[0], locations)}"
    with (
        running_nginx(directory, config, [theirs]),
        control(table, admin_socket(directory), (ours, locations)),
    ):
        yield ports


def plain(text: str) -> str:
    """Without the product's name, and without numbers of connections."""
    text = re.sub(rf"nginx/[\d.]+|kubelb/{re.escape(__version__)}", "PRODUCT", text)
    return re.sub(r"\d+", "N", text) if text.startswith("Active") else text


LOCATIONS = (
    *HEALTH,
    Location(path="/healthz/deep", body="deep"),
    Location(path="/exact", exact=True, status=503, body="oops"),
    Location(path="/exact/", body="prefix"),
    Location(path="/json", body="{}", content_type="application/json"),
    Location(path="/none", status=204),
    Location(path="/moved", status=301, body="http://elsewhere/x"),
    Location(path="/teapot", status=418),
)
TARGETS = [
    *("/healthz", "/healthzzz", "/healthz/deep/er", "/healthz?a=/stub_status", "/%68ealthz", "//healthz///deep"),
    *("/a/../healthz", "/./healthz/x/..", "/exact", "/exactly", "/exact/", "/exact/x/..", "/json", "/none", "/moved"),
    *("/teapot", "/stub_status", "/stub_status/x", "/nowhere", "/HEALTHZ"),
]


@debian.NGINX
def test_every_request_is_answered_as_nginx_does(tmp_path: Path, table: stats.Table) -> None:
    with both(tmp_path, table, LOCATIONS) as (theirs, ours):
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE"):
            for target in TARGETS:
                *expected, expected_body = ask(theirs, target, method)
                *given, body = ask(ours, target, method)
                assert (method, target, given, plain(body)) == (method, target, expected, plain(expected_body))


@debian.NGINX
def test_every_status_is_answered_as_nginx_does(tmp_path: Path, table: stats.Table) -> None:
    codes = [*sorted({200, 203, 305, 418, 599, *_TITLES} - {408})]
    bare = tuple(Location(path=f"/bare/{code}", exact=True, status=code) for code in codes)
    texts = tuple(Location(path=f"/text/{code}", exact=True, status=code, body="text") for code in codes)
    with both(tmp_path, table, bare + texts) as (theirs, ours):
        for location in bare + texts:
            *expected, expected_body = ask(theirs, location.path)
            *given, body = ask(ours, location.path)
            assert (location.path, given, plain(body)) == (location.path, expected, plain(expected_body))


@debian.NGINX
@pytest.mark.parametrize("code", [408, 444, 499])
def test_silence_is_silence(tmp_path: Path, table: stats.Table, code: int) -> None:
    with both(tmp_path, table, (Location(path="/", status=code),)) as ports:
        for port in ports:
            with pytest.raises(http.client.RemoteDisconnected):
                ask(port, "/")


STREAM = """\
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass {server};
    }}
}}
"""


def asking(port: int) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30))


def stub_status(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/stub_status")
    return connection.getresponse().read().decode()


@debian.NGINX
def test_stub_status_counts_as_nginx_does(tmp_path: Path, table: stats.Table) -> None:
    """Three TCP sessions, a silent HTTP connection, and one that asks twice."""
    theirs, ours, stream = listen(), listen(), listen()
    ports = [theirs.getsockname()[1], ours.getsockname()[1]]
    sessions = stream.getsockname()
    table.row(0).add(0, Count.ACTIVE, 3)
    table.row(1).add(0, Count.OPENED, 3)
    with IdentityServers(["127.0.0.1"], stay=True) as servers, ExitStack() as held:
        server = "{}:{}".format(*servers.addresses[0])
        config = "".join(
            (PREAMBLE, "events {}\n", http_block(ports[0], HEALTH), STREAM.format(port=sessions[1], server=server))
        )
        held.enter_context(running_nginx(tmp_path, config, [theirs, stream]))
        held.enter_context(control(table, admin_socket(tmp_path), (ours, HEALTH)))
        for _ in range(3):
            session = held.enter_context(socket.create_connection(sessions))
            assert session.recv(100)
        texts = [_two_answers(port) for port in ports]
    assert texts[0] == texts[1]
    assert texts[0][1] == (
        "Active connections: 5 \nserver accepts handled requests\n 5 5 2 \nReading: 0 Writing: 1 Waiting: 1 \n"
    )


def _two_answers(port: int) -> list[str]:
    with socket.create_connection(("127.0.0.1", port)), asking(port) as connection:
        return [stub_status(connection) for _ in range(2)]


@debian.NGINX
def test_a_request_not_yet_whole_is_being_read(tmp_path: Path, table: stats.Table) -> None:
    with both(tmp_path, table, HEALTH) as ports:
        for port in ports:
            with socket.create_connection(("127.0.0.1", port)) as reading, asking(port) as connection:
                reading.sendall(b"GET /healthz HT")
                assert "Reading: 1 Writing: 1 Waiting: 0" in stub_status(connection)


def test_admin_sock_in_a_deep_directory(tmp_path: Path, table: stats.Table) -> None:
    """Deeper than a socket address has room for."""
    deep = tmp_path / ("x" * 200)
    deep.mkdir()
    with control(table, listen_unix(deep / adminclient.NAME)):
        assert adminclient.status(deep).pid
    assert (deep / adminclient.NAME).is_socket()
