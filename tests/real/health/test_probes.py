"""Probes against real servers."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from kubelb.config.model.pools import Health, ProbeKind
from kubelb.health.probes import Outcome, Prober, Result
from kubelb.snapshot import SocketAddress
from kubelb.standin import certificates
from kubelb.standin.certificates import Certificates
from kubelb.standin.process import Standin
from tests.real.health.rig import OK, WebServer, drive, finish, text_answer, tls, waits
from tests.support.eventually import eventually
from tests.support.syscalls import where_refused

pytestmark = pytest.mark.usefixtures("no_leaks")

KINDS: tuple[ProbeKind, ...] = ("tcp", "tls", "http", "https")
WITH_TLS: tuple[ProbeKind, ...] = ("tls", "https")
WITH_HTTP: tuple[ProbeKind, ...] = ("http", "https")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of another authority."""
    return certificates.make(tmp_path_factory.mktemp("others"))


def server_for(kind: ProbeKind, made: Certificates, answer: bytes | None = OK, **settings: Any) -> WebServer:
    return WebServer(answer, tls(str(made.server)) if kind in WITH_TLS else None, **settings)


@contextlib.contextmanager
def probing(address: SocketAddress, health: Health, host: str = "127.0.0.1") -> Iterator[Prober]:
    prober = Prober(address, host, health)
    try:
        yield prober
    finally:
        prober.close()


def once(address: SocketAddress, health: Health, host: str = "127.0.0.1") -> Result:
    """What one probe, on a new connection, finds."""
    with probing(address, health, host) as prober:
        attempt = prober.begin()
        assert not attempt.kept
        return finish(attempt)


def refused() -> Result:
    return Result(Outcome.REFUSED, "connection refused")


def broken(reason: str) -> Result:
    return Result(Outcome.BROKEN, reason)


def not_asked(reason: str) -> Result:
    return Result(Outcome.NOT_ASKED, reason)


# Each kind, and what it takes for each to pass.


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    ("kind", "seen"), [("tcp", "connected"), ("tls", "TLSv1.3"), ("http", "/readyz: 200"), ("https", "/readyz: 200")]
)
def test_a_server_that_is_well_passes(made: Certificates, kind: ProbeKind, seen: str, host: str) -> None:
    health = Health(probe=kind, ca_file=str(made.authority) if kind in WITH_TLS else None)
    with server_for(kind, made, host=host) as server:
        assert once(server.address, health, host) == Result(Outcome.PASSED, seen)


def test_an_apiserver_passes_until_it_is_killed(made: Certificates) -> None:
    health = Health(ca_file=str(made.authority))
    with Standin("a", made.server) as standin, probing((standin.host, standin.port), health) as prober:
        assert finish(prober.begin()) == Result(Outcome.PASSED, "/readyz: 200")
        standin.kill()
        attempt = prober.begin()
        assert attempt.kept
        assert finish(attempt).outcome is Outcome.BROKEN
        assert finish(prober.begin_anew()) == refused()


def test_the_request_is_for_the_path_and_names_the_server() -> None:
    with WebServer() as server:
        health = Health(probe="http", path="/livez?verbose")
        once(server.address, health)
        once(server.address, health, "localhost")
        once(server.address, health, "::1")
        once(server.address, msgspec.structs.replace(health, server_name="api.example"))
    port = server.address[1]
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "api.example"]
    for request, host in zip(server.requests, hosts, strict=True):
        first, *headers = request.split("\r\n")
        assert first == "GET /livez?verbose HTTP/1.1"
        assert f"Host: {host}" in headers


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_of_its_own_is_asked_in_place_of_the_servers(made: Certificates, kind: ProbeKind) -> None:
    with server_for(kind, made) as server, socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        health = Health(probe=kind, port=server.address[1])
        assert once(holder.getsockname(), health).outcome is Outcome.PASSED
    if kind in WITH_HTTP:
        assert f"Host: 127.0.0.1:{server.address[1]}" in server.requests[0].split("\r\n")


@pytest.mark.parametrize(
    ("kind", "expect", "status", "outcome"),
    [
        ("https", (), 401, Outcome.NOT_TOLD),
        ("https", (), 403, Outcome.FORBIDDEN),
        ("https", (200, 401), 401, Outcome.PASSED),
        ("https", (200, 403), 403, Outcome.PASSED),
        ("https", (), 404, Outcome.UNREADY),
        ("https", (200,), 401, Outcome.UNREADY),
        ("http", (), 401, Outcome.UNREADY),
        ("http", (), 204, Outcome.UNREADY),
        ("http", (204, 302), 204, Outcome.PASSED),
        ("http", (204, 302), 302, Outcome.PASSED),
        ("http", (204, 302), 200, Outcome.UNREADY),
    ],
)
def test_the_status_decides(
    made: Certificates, kind: ProbeKind, expect: tuple[int, ...], status: int, outcome: Outcome
) -> None:
    with server_for(kind, made, text_answer(status, b"")) as server:
        result = once(server.address, Health(probe=kind, expect=expect))
    assert result == Result(outcome, f"/readyz: {status}")


@pytest.mark.parametrize("kind", WITH_HTTP)
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", ""),
        (b"shutting down\r\n", ": shutting down"),
        (b"[+]ping ok\n[-]etcd failed: reason withheld\n[-]log failed\n", ": [-]etcd failed: reason withheld"),
        (b'{\n  "kind": "Status"\n}', ""),
        (b"<html>", ""),
        (b"\x1b[31mred", ""),
        (b"\xff\xfe", ""),
        (b"word " * 50, ""),
    ],
)
def test_what_is_not_ready_says_why(made: Certificates, kind: ProbeKind, body: bytes, detail: str) -> None:
    with server_for(kind, made, text_answer(500, body)) as server:
        assert once(server.address, Health(probe=kind)) == Result(Outcome.UNREADY, f"/readyz: 500{detail}")


def test_a_long_path_leaves_a_short_reason() -> None:
    with WebServer(text_answer(500, b"")) as server:
        result = once(server.address, Health(probe="http", path="/" + "a" * 500))
    assert result.outcome is Outcome.UNREADY
    assert len(result.reason) == 120


@pytest.mark.parametrize("kind", WITH_HTTP)
def test_an_answer_may_come_in_any_form(made: Certificates, kind: ProbeKind) -> None:
    """Interim answer, chunks and trailer, byte by byte; over TLS every byte is a record."""
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nA: b\r\n\r\n"
    )
    with server_for(kind, made, answer, piece=1) as server, probing(server.address, Health(probe=kind)) as prober:
        for kept in (False, True):
            attempt = prober.begin()
            assert attempt.kept is kept
            assert finish(attempt) == Result(Outcome.PASSED, "/readyz: 200")


# Servers that are not well.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_refused_connection_fails(kind: ProbeKind, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as holder:
        holder.bind((host, 0))
        assert once(holder.getsockname()[:2], Health(probe=kind), host) == refused()


@pytest.mark.parametrize("kind", ["tls", "http", "https"])
def test_a_server_that_accepts_and_says_nothing_is_waited_for(kind: ProbeKind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, probing(listener.getsockname(), Health(probe=kind)) as p:
        attempt = p.begin()
        drive(attempt, lambda: waits(attempt))
        assert attempt.connected
        with listener.accept()[0] as accepted:
            assert accepted.recv(1)
            assert waits(attempt)
            descriptor = attempt.fileno()
            attempt.abandon()
            attempt.abandon()
            with pytest.raises(OSError) as caught:  # noqa: PT011 (the number tells)
                os.fstat(descriptor)
            assert caught.value.errno == errno.EBADF
            while accepted.recv(65536):
                pass


@pytest.mark.parametrize("kind", WITH_HTTP)
def test_a_server_that_reads_and_does_not_answer_is_waited_for(made: Certificates, kind: ProbeKind) -> None:
    with server_for(kind, made, None) as server, probing(server.address, Health(probe=kind)) as prober:
        attempt = prober.begin()
        drive(attempt, lambda: bool(server.requests) and waits(attempt))
        attempt.abandon()
        eventually(lambda: server.ended == 1, "the server sees the end")
        again = prober.begin()
        assert not again.kept
        again.abandon()


def test_an_address_that_does_not_answer_is_waited_for_and_abandoned() -> None:
    """A listener with a full queue drops further requests to connect, as a vanished server does."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        fillers = [stack.enter_context(socket.socket()) for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        prober = stack.enter_context(probing(address, Health(probe="tcp")))
        attempt = prober.begin()
        assert waits(attempt)
        assert waits(attempt)
        assert not attempt.connected
        attempt.abandon()


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_nobody_listens_at_is_a_refusal(kind: ProbeKind, tmp_path: Path) -> None:
    result = once((f"unix:{tmp_path}/none.sock", 0), Health(probe=kind), "localhost")
    assert result == Result(Outcome.REFUSED, "no such file or directory")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (errno.EHOSTUNREACH, Outcome.UNANSWERED),
        (errno.ENETUNREACH, Outcome.UNANSWERED),
        (errno.ETIMEDOUT, Outcome.UNANSWERED),
        (errno.ECONNREFUSED, Outcome.REFUSED),
        (errno.ECONNRESET, Outcome.BROKEN),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value.name,
)
def test_what_the_kernel_says_of_a_connect_decides(kind: ProbeKind, code: int, outcome: Outcome) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        probing(listener.getsockname(), Health(probe=kind)) as prober,
    ):
        result = where_refused("connect", code, lambda: prober.begin().step())
    assert result is not None
    assert result.outcome is outcome


class Scripted(WebServer):
    """Says something at once and closes, or resets."""

    def __init__(self, says: bytes, *, resets: bool = False) -> None:
        super().__init__()
        self._says = says
        self._resets = resets

    def _talk(self, sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(self._says)
        if self._resets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        # All it was told is read, so that the close is an orderly one.
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


@pytest.mark.parametrize(
    ("kind", "says", "reason"),
    [
        ("http", b"", "closed without an answer"),
        ("http", b"HTTP/1.1 200 O", "closed in the middle of its answer"),
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20000, "not HTTP: a line or head without end"),
        ("tls", b"", "TLS: connection closed"),
        ("https", b"", "TLS: connection closed"),
    ],
)
def test_nonsense_fails(kind: ProbeKind, says: bytes, reason: str) -> None:
    with Scripted(says) as server:
        assert once(server.address, Health(probe=kind)) == broken(reason)


@pytest.mark.parametrize("kind", WITH_TLS)
@pytest.mark.parametrize("says", [OK, os.urandom(300), b"\x16\x03\x03\x00\x04nono", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_what_is_not_tls_fails(kind: ProbeKind, says: bytes) -> None:
    with Scripted(says) as server:
        result = once(server.address, Health(probe=kind))
    assert result.outcome is Outcome.BROKEN
    assert result.reason.startswith("TLS: ")


@pytest.mark.parametrize("kind", ["tls", "http", "https"])
def test_a_reset_fails(kind: ProbeKind) -> None:
    with Scripted(b"", resets=True) as server:
        assert once(server.address, Health(probe=kind)) == broken("connection reset by peer")


def test_plain_http_to_an_https_port_fails(made: Certificates) -> None:
    with server_for("https", made) as server:
        assert once(server.address, Health(probe="http")).outcome is Outcome.BROKEN


# Certificates.


@pytest.mark.parametrize("kind", WITH_TLS)
def test_a_certificate_is_checked_only_against_an_authority(
    made: Certificates, other: Certificates, kind: ProbeKind
) -> None:
    with server_for(kind, made) as server:
        assert once(server.address, Health(probe=kind)).outcome is Outcome.PASSED
        assert once(server.address, Health(probe=kind, ca_file=str(other.authority))) == broken(
            "TLS: the certificate is from an unknown authority"
        )


@pytest.mark.parametrize("kind", WITH_TLS)
def test_the_certificate_has_to_be_the_servers(made: Certificates, kind: ProbeKind) -> None:
    checked = Health(probe=kind, ca_file=str(made.authority))
    named = msgspec.structs.replace(checked, server_name="localhost")
    with server_for(kind, made) as server:
        wrong = "TLS: the certificate is not for {}"
        assert once(server.address, checked, "api.example") == broken(wrong.format("api.example"))
        assert once(server.address, named, "api.example").outcome is Outcome.PASSED
        assert once(server.address, checked, "localhost.").outcome is Outcome.PASSED
        assert once(server.address, checked, "127.0.0.2") == broken(wrong.format("127.0.0.2"))
        # Unchecked, anything goes, and the name is told all the same.
        assert once(server.address, Health(probe=kind), "api.example").outcome is Outcome.PASSED
        assert server.names == ["api.example", "localhost", "localhost", None, "api.example"]


def test_what_is_in_the_file_is_trusted_though_it_is_no_root(made: Certificates) -> None:
    with server_for("https", made) as server:
        assert once(server.address, Health(ca_file=str(made.server))).outcome is Outcome.PASSED


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_shown_where_one_is_given(
    made: Certificates, other: Certificates, newest: ssl.TLSVersion, tmp_path: Path
) -> None:
    pem = other.server.read_text()
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    begin = pem.index("-----BEGIN CERTIFICATE")
    key.write_text(pem[:begin])
    chain.write_text(pem[begin:])
    checked = Health(ca_file=str(made.authority))
    context = tls(str(made.server), clients=str(other.authority), newest=newest)
    with WebServer(OK, context) as server:
        # The server may be gone before its alert is read.
        assert once(server.address, checked).outcome is Outcome.BROKEN
        together = msgspec.structs.replace(checked, cert_file=str(other.server))
        assert once(server.address, together) == Result(Outcome.PASSED, "/readyz: 200")
        apart = msgspec.structs.replace(checked, cert_file=str(chain), key_file=str(key))
        assert once(server.address, apart) == Result(Outcome.PASSED, "/readyz: 200")


# The connection that is kept.


@pytest.mark.parametrize("newest", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("answer", [OK, text_answer(500, b"not yet")])
def test_many_probes_are_one_connection(made: Certificates, newest: ssl.TLSVersion | None, answer: bytes) -> None:
    context = None if newest is None else tls(str(made.server), newest=newest)
    health = Health(probe="http") if newest is None else Health(ca_file=str(made.authority))
    with WebServer(answer, context) as server, probing(server.address, health) as prober:
        for number in range(10):
            attempt = prober.begin()
            assert attempt.kept is (number > 0)
            assert finish(attempt).reason in ("/readyz: 200", "/readyz: 500: not yet")
        assert (server.accepted, len(server.requests)) == (1, 10)
        assert server.handshakes == (context is not None)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_a_probe_without_a_request_keeps_nothing(made: Certificates, kind: ProbeKind) -> None:
    with server_for(kind, made) as server, probing(server.address, Health(probe=kind)) as prober:
        for _ in range(3):
            attempt = prober.begin()
            assert not attempt.kept
            assert finish(attempt).outcome is Outcome.PASSED
        eventually(lambda: server.ended == 3, "all closed")


@pytest.mark.parametrize("kind", WITH_HTTP)
@pytest.mark.parametrize(
    "answer",
    [
        text_answer(200, b"ok", b"Connection: close"),
        OK.replace(b"1.1", b"1.0"),
        OK + b"more",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        text_answer(200, b"a" * 2_000_000),
    ],
    ids=["close", "1.0", "more", "until the end", "too long"],
)
def test_a_connection_that_cannot_go_on_is_closed(made: Certificates, kind: ProbeKind, answer: bytes) -> None:
    with server_for(kind, made, answer) as server, probing(server.address, Health(probe=kind)) as prober:
        for count in (1, 2):
            attempt = prober.begin()
            assert not attempt.kept
            assert finish(attempt) == Result(Outcome.PASSED, "/readyz: 200")
            eventually(lambda count=count: server.ended == count, "closed")  # type: ignore[misc]


def test_a_long_answer_is_read_to_its_end_and_the_connection_kept(made: Certificates) -> None:
    with server_for("https", made, text_answer(200, b"a" * 1_000_000)) as server:
        with probing(server.address, Health()) as prober:
            for _ in range(2):
                assert finish(prober.begin()) == Result(Outcome.PASSED, "/readyz: 200")
        assert server.accepted == 1


@pytest.mark.parametrize("kind", WITH_HTTP)
def test_a_kept_connection_that_the_server_closed_fails_as_a_kept_one(made: Certificates, kind: ProbeKind) -> None:
    with server_for(kind, made) as server, probing(server.address, Health(probe=kind)) as prober:
        finish(prober.begin())
        server.hang_up()
        eventually(lambda: server.ended == 1, "closed")
        attempt = prober.begin()
        assert attempt.kept
        assert finish(attempt) == broken("closed the idle connection")
        again = prober.begin_anew()
        assert not again.kept
        assert finish(again) == Result(Outcome.PASSED, "/readyz: 200")
        last = prober.begin()
        assert last.kept
        last.abandon()


@pytest.mark.parametrize("kind", WITH_HTTP)
def test_a_kept_connection_that_ends_instead_of_an_answer_fails(made: Certificates, kind: ProbeKind) -> None:
    with server_for(kind, made) as server, probing(server.address, Health(probe=kind)) as prober:
        finish(prober.begin())
        server.answer = None
        attempt = prober.begin()
        drive(attempt, lambda: len(server.requests) == 2)
        server.hang_up()
        assert attempt.kept
        assert finish(attempt) == broken("closed without an answer")


def test_a_kept_connection_on_which_more_came_is_not_used() -> None:
    with WebServer() as server, probing(server.address, Health(probe="http")) as prober:
        finish(prober.begin())
        for sock in tuple(server._open):
            sock.sendall(b"surprise")
        attempt = prober.begin()
        assert attempt.kept
        assert finish(attempt) == broken("spoke without being asked")


def test_two_attempts_at_once_leave_one_connection(made: Certificates) -> None:
    with server_for("https", made) as server, probing(server.address, Health()) as prober:
        first, second = prober.begin(), prober.begin()
        assert first.fileno() != second.fileno()
        assert finish(second) == finish(first) == Result(Outcome.PASSED, "/readyz: 200")
        eventually(lambda: server.ended == 1, "one of them closed")
        assert server.accepted == 2


# The operator's files.


def replace(file: Path, content: bytes) -> None:
    """As rotation does it: at no time is there half a file."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.rename(file)


@pytest.mark.parametrize("kind", WITH_HTTP)
def test_a_token_is_sent_as_it_now_is(made: Certificates, kind: ProbeKind, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    health = Health(probe=kind, token_file=str(token))
    with server_for(kind, made) as server, probing(server.address, health) as prober:
        finish(prober.begin())
        replace(token, b"second")
        finish(prober.begin())
        finish(prober.begin_anew())
    sent = [request.partition("Authorization: ")[2].partition("\r\n")[0] for request in server.requests]
    assert sent == ["Bearer first", "Bearer second", "Bearer second"]
    assert server.accepted == 2


def test_without_a_token_none_is_sent() -> None:
    with WebServer() as server:
        once(server.address, Health(probe="http"))
    assert "Authorization" not in server.requests[0]


@pytest.fixture
def _short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named from the test's own directory: a longer name would not leave room for what is wrong."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_short_names")
def test_a_changed_authority_is_used_at_once(made: Certificates, other: Certificates) -> None:
    authority = Path("ca.crt")
    authority.write_bytes(made.authority.read_bytes())
    with server_for("https", made) as server:
        with probing(server.address, Health(ca_file=str(authority))) as prober:
            assert finish(prober.begin()).outcome is Outcome.PASSED
            replace(authority, other.authority.read_bytes())
            attempt = prober.begin()
            assert not attempt.kept
            assert finish(attempt).reason.startswith("TLS: the certificate is from an unknown authority")
            replace(authority, made.authority.read_bytes())
            assert finish(prober.begin()).outcome is Outcome.PASSED
            authority.unlink()
            assert finish(prober.begin()) == not_asked(f"own file {authority}: no such file or directory")
        assert server.handshakes == 2


@pytest.mark.parametrize(
    ("setting", "content", "why"),
    [
        ("ca_file", None, "no such file or directory"),
        ("ca_file", b"no certificate", "no certificates in it"),
        ("cert_file", b"no certificate", "not a certificate and its key"),
        ("token_file", None, "no such file or directory"),
        ("token_file", b"", "not a bearer token"),
        ("token_file", b"two\r\nHost: words", "not a bearer token"),
        ("token_file", b"a" * 100_000, "not a bearer token"),
    ],
)
@pytest.mark.usefixtures("_short_names")
def test_an_own_file_that_cannot_be_used_is_named(
    made: Certificates, setting: str, content: bytes | None, why: str
) -> None:
    file = Path("file")
    if content is not None:
        file.write_bytes(content)
    with server_for("https", made) as server:
        result = once(server.address, msgspec.structs.replace(Health(), **{setting: str(file)}))
    assert result == not_asked(f"own file {file}: {why}")


AT_A_TERMINAL = """
import os, sys
from kubelb.config.model.pools import Health
from kubelb.health.probes import Prober
terminal, cert, key = sys.argv[1:]
os.open(terminal, os.O_RDWR)
os.close(os.open("/dev/tty", os.O_RDWR))
print(Prober(("127.0.0.1", 1), "127.0.0.1", Health(cert_file=cert, key_file=key)).begin().step().reason)
"""
"""In a new session: the terminal that it opens is its own."""


def test_nobody_is_asked_for_the_passphrase_of_a_key(made: Certificates, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    plain = serialization.load_pem_private_key(made.server.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    master, terminal = os.openpty()
    try:
        run = subprocess.run(
            [sys.executable, "-c", AT_A_TERMINAL, os.ttyname(terminal), made.server, key],
            capture_output=True,
            text=True,
            timeout=30,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(master)
        os.close(terminal)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"own file {made.server}: not a certificate and its key\n"


@pytest.mark.parametrize("setting", ["ca_file", "cert_file", "token_file"])
@pytest.mark.usefixtures("_short_names")
def test_a_file_that_would_have_to_be_waited_for_is_not_opened(made: Certificates, setting: str) -> None:
    pipe = Path("pipe")
    os.mkfifo(pipe)
    with server_for("https", made) as server:
        result = once(server.address, msgspec.structs.replace(Health(), **{setting: str(pipe)}))
    assert result == not_asked(f"own file {pipe}: not a regular file")


@pytest.mark.parametrize(
    "code",
    [
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        *(errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EPERM, errno.EACCES),
    ],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("call", ["socket", "connect"])
def test_what_this_machine_has_no_more_of_or_forbids_says_nothing_about_the_server(call: str, code: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        probing(listener.getsockname(), Health(probe="tcp")) as prober,
    ):
        result = where_refused(call, code, lambda: prober.begin().step())
        assert result is not None
        assert result.outcome is Outcome.NOT_ASKED
        assert finish(prober.begin()).outcome is Outcome.PASSED


@pytest.mark.parametrize("kind", KINDS)
def test_used_up_descriptors_are_a_result_too(kind: ProbeKind) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        probing(listener.getsockname(), Health(probe=kind)) as prober,
    ):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            attempt = prober.begin()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert attempt.step() == not_asked("own limit: out of file descriptors; raise max_open_files")
        assert attempt.fileno() == -1
        attempt.abandon()
        again = prober.begin()
        assert again.fileno() == lowest
        again.abandon()
