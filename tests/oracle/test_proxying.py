"""Sessions through nginx and through kubelb under the same settings: who hears what, where from, of whom how many."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from kubelb.relay.rate import step_size
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import name_of, refusing
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import reserved, running

DEADLINE = 30.0
RATE = 40_000
WORDS = bytes(range(256)) * 300
Play = Callable[[SocketAddress], object]


@contextmanager
def both(
    directory: Path, servers: Sequence[str], settings: str = ""
) -> Iterator[tuple[list[SocketAddress], list[SocketAddress]]]:
    """nginx and kubelb, each with listeners that do as ``servers`` say; where they listen. Their access logs are
    ``nginx.log`` and ``kubelb.log``."""

    def stream(where: Sequence[SocketAddress], log: Path) -> str:
        listeners = "".join(
            f"server {{ listen {name_of(at)}; {own} }}\n" for at, own in zip(where, servers, strict=True)
        )
        form = "log_format line '$status $upstream_addr';"
        return f"events {{}}\nstream {{ {form} access_log {log} line; {settings}\n{listeners}}}\n"

    with ExitStack() as stack:
        sockets = [listen() for _ in servers]
        theirs = [sock.getsockname() for sock in sockets]
        stack.enter_context(
            running_nginx(directory, PREAMBLE + stream(theirs, directory / "nginx.log"), sockets),
        )
        ours = [stack.enter_context(reserved()) for _ in servers]
        (directory / "kubelb.conf").write_text(stream(ours, directory / "kubelb.log"))
        stack.enter_context(running(directory, "--nginx-conf", str(directory / "kubelb.conf")))
        yield theirs, ours


def logged(directory: Path, count: int) -> tuple[list[str], list[str]]:
    """The lines of both access logs, once there are so many."""
    logs = [directory / "nginx.log", directory / "kubelb.log"]
    eventually(lambda: all(len(log.read_text().splitlines()) == count for log in logs), f"{count} lines in each")
    theirs, ours = (log.read_text().splitlines() for log in logs)
    return theirs, ours


class Pair(NamedTuple):
    """The far ends of a session."""

    client: socket.socket
    server: socket.socket


@contextmanager
def a_session(address: SocketAddress, listening: socket.socket, room: int | None = None) -> Iterator[Pair]:
    with socket.socket() as client:
        if room is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.settimeout(DEADLINE)
        client.connect(address)
        server, _ = listening.accept()
        with server:
            server.settimeout(DEADLINE)
            yield Pair(client, server)


def hear(sock: socket.socket) -> tuple[bytes, str]:
    """What is still to come, and how it ends."""
    heard = bytearray()
    try:
        while piece := sock.recv(65536):
            heard += piece
    except ConnectionResetError:
        return bytes(heard), "reset"
    return bytes(heard), "end"


def stuff(sock: socket.socket) -> None:
    """Send until nobody takes any more."""
    sock.setblocking(False)
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    while poller.poll(300):
        try:
            sock.send(WORDS)
        except BlockingIOError:
            continue
    sock.settimeout(DEADLINE)


@pytest.fixture(scope="module")
def listening() -> Iterator[socket.socket]:
    with listen() as sock:
        sock.settimeout(DEADLINE)
        yield sock


@pytest.fixture(scope="module")
def halves(
    tmp_path_factory: pytest.TempPathFactory, listening: socket.socket
) -> Iterator[dict[str, tuple[SocketAddress, SocketAddress]]]:
    """Where both listen, by what they do about half closed sessions."""
    to = f"proxy_pass {name_of(listening.getsockname())};"
    texts = {"default": to, "off": f"{to} proxy_half_close off;", "on": f"{to} proxy_half_close on;"}
    with both(tmp_path_factory.mktemp("halves"), list(texts.values())) as (theirs, ours):
        yield dict(zip(texts, zip(theirs, ours, strict=True), strict=True))


@pytest.mark.parametrize(
    ("half_close", "first", "last_words", "unread"),
    list(product(("default", "off", "on"), ("client", "server"), (b"", b"!", WORDS), (b"", WORDS[:5000]))),
)
def test_one_side_ends(
    halves: dict[str, tuple[SocketAddress, SocketAddress]],
    listening: socket.socket,
    half_close: str,
    first: str,
    last_words: bytes,
    unread: bytes,
) -> None:
    """With something on its way to it, or not; and then the other one answers."""

    def play(address: SocketAddress) -> object:
        with a_session(address, listening) as pair:
            one, other = pair if first == "client" else (pair.server, pair.client)
            if unread:
                other.sendall(unread)
                eventually(lambda: len(one.recv(len(unread), socket.MSG_PEEK)) == len(unread), "it has arrived")
            one.sendall(last_words)
            one.shutdown(socket.SHUT_WR)
            heard = hear(other)
            with suppress(OSError):  # Nobody may be there any more.
                other.sendall(b"answer")
                other.shutdown(socket.SHUT_WR)
            return heard, hear(one)

    theirs, ours = map(play, halves[half_close])
    assert ours == theirs
    answered = b"answer" if half_close == "on" else b""
    assert ours == ((last_words, "end"), (unread + answered, "end"))


@pytest.mark.parametrize(("half_close", "first"), list(product(("off", "on"), ("client", "server"))))
def test_one_side_ends_who_does_not_listen(
    halves: dict[str, tuple[SocketAddress, SocketAddress]], listening: socket.socket, half_close: str, first: str
) -> None:
    """More is on its way to it than all buffers take."""

    def play(address: SocketAddress) -> object:
        with a_session(address, listening, room=4096) as pair:
            one, other = pair if first == "client" else (pair.server, pair.client)
            stuff(other)
            one.sendall(b"bye")
            one.shutdown(socket.SHUT_WR)
            if half_close == "on":
                assert other.recv(3) == b"bye"
                other.shutdown(socket.SHUT_WR)
            return hear(other), hear(one)[1]

    theirs, ours = map(play, halves[half_close])
    assert ours == theirs


TRIES = (
    *("", "proxy_next_upstream on;", "proxy_next_upstream off;"),
    *(f"proxy_next_upstream_tries {tries};" for tries in (0, 1, 2, 3, 4, 9)),
    "proxy_next_upstream off; proxy_next_upstream_tries 3;",
    "proxy_next_upstream_timeout 1h; proxy_next_upstream_tries 2;",
    "proxy_next_upstream_timeout 0;",
)


@pytest.mark.parametrize("backup", ["", "backup"])
def test_tries(tmp_path: Path, backup: str) -> None:
    with refusing([f"127.0.0.{last}" for last in (2, 3, 4)]) as dead:
        one, two, three = map(name_of, dead)
        upstreams = "".join(
            f"upstream u{i} {{ server {one} max_fails=0; server {two} max_fails=0; server {three} {backup}; }}"
            for i in range(len(TRIES))
        )
        servers = [f"proxy_pass u{i}; {own}" for i, own in enumerate(TRIES)]

        def play(address: SocketAddress) -> None:
            with suppress(ConnectionResetError), socket.create_connection(address, timeout=DEADLINE) as client:
                hear(client)

        with both(tmp_path, servers, upstreams) as sides:
            for side in sides:
                for address in side:
                    play(address)
            theirs, ours = logged(tmp_path, len(TRIES))
    assert ours == theirs
    assert [line.count(", ") for line in ours[:4]] == [2, 2, 0, 2]


def test_where_servers_are_connected_to_from(tmp_path: Path, listening: socket.socket) -> None:
    to = f"proxy_pass {name_of(listening.getsockname())};"
    with socket.create_server(("127.0.0.9", 0)) as sock:
        port = sock.getsockname()[1]
    values = ["off", "127.0.0.9", "$remote_addr", "$hostname", f"127.0.0.9:{port}"]
    servers = [*(f"{to} proxy_bind {value};" for value in values), to, f"{to} proxy_bind 192.0.2.1;"]

    def connected_from(address: SocketAddress) -> SocketAddress:
        with socket.create_connection(address, DEADLINE, ("127.0.0.77", 0)) as client:
            server, peer = listening.accept()
            with server:
                server.settimeout(DEADLINE)
                client.shutdown(socket.SHUT_WR)
                assert hear(server) == hear(client) == (b"", "end")
                # Nothing is left of it in TIME_WAIT, so its port can be had again.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return (peer[0], peer[1] if peer[1] == port else 0)

    with both(tmp_path, servers, "proxy_bind 127.0.0.8;") as sides:
        theirs, ours = ([connected_from(address) for address in side[:-1]] for side in sides)
        for *_, address in sides:
            with suppress(ConnectionResetError), socket.create_connection(address, DEADLINE) as client:
                hear(client)
        lines = logged(tmp_path, len(servers))
    hosts = ["127.0.0.1", "127.0.0.9", "127.0.0.77", "127.0.0.1", "127.0.0.9", "127.0.0.8"]
    assert [host for host, _ in ours] == hosts
    assert ours == theirs
    assert lines[1] == lines[0]
    assert [line.split()[0] for line in lines[1]] == ["200"] * len(hosts) + ["500"]


@pytest.mark.parametrize(
    ("setting", "direction"),
    [
        (f"proxy_upload_rate {RATE};", "up"),
        (f"proxy_download_rate {RATE};", "down"),
        ("proxy_download_rate $server_port;", "down"),
        ("proxy_upload_rate $hostname; proxy_download_rate 0;", "free"),
    ],
)
def test_rates(tmp_path: Path, listening: socket.socket, setting: str, direction: str) -> None:
    words = WORDS[: 2 * RATE]

    def play(address: SocketAddress) -> tuple[object, float]:
        with a_session(address, listening) as pair:
            one, other = pair if direction != "down" else (pair.server, pair.client)

            def speak() -> None:
                one.sendall(words)
                one.shutdown(socket.SHUT_WR)

            begun = time.monotonic()
            sender = threading.Thread(target=speak)
            sender.start()
            heard = hear(other)
            took = time.monotonic() - begun
            sender.join()
            other.sendall(b"answer")
            other.shutdown(socket.SHUT_WR)
            return (heard, hear(one)), took

    to = f"proxy_pass {name_of(listening.getsockname())}; proxy_half_close on;"
    with both(tmp_path, [f"{to} {setting}"]) as ((theirs,), (ours,)):
        seen = [play(theirs), play(ours)]
    assert seen[1][0] == seen[0][0] == ((words, "end"), (b"answer", "end"))
    rate = ours[1] if "$server_port" in setting else RATE
    if direction != "free":
        assert seen[1][1] >= (len(words) - step_size(rate)) / rate - 1 / 16
