"""The same clients before nginx and before kubelb: PROXY headers in and out, access rules, ``return``.

Compared are what each client hears, with an echo of what its server was told first, and every field of its line in
the access log.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from kubelb.config.variables import Worker, session_variables
from kubelb.snapshot import SocketAddress
from tests.oracle.test_access_log import MARK, alike, count, fields
from tests.support.eventually import eventually
from tests.support.identity import name_of, reset
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import EchoServers, reserved, running
from tests.support.proxy_headers import VALID

NAMES = sorted(session_variables(Worker("", 0)))
FORMAT = "log_format plain " + " ".join(f"'{name}=${name}{MARK}'" for name in NAMES) + ";"
V1 = b"PROXY TCP4 10.1.2.3 10.4.5.6 7000 8000\r\n"
V1_IPV6 = b"PROXY TCP6 2001:DB8::1 fe80::1 65535 0\r\n"
NO_ADDRESS = b"PROXY TCP4 fe.dc 1.2.3.4 7 8\r\n"
END = b" the end\n"
HOSTS = ("127.0.0.1",) * 11 + ("::1",)


def servers(where: Sequence[SocketAddress], echo: SocketAddress) -> str:
    """A ``server {}`` for each address."""
    tells = "$remote_addr|$remote_port|$realip_remote_addr|$proxy_protocol_addr|$proxy_protocol_server_port"
    rest = (
        "{} proxy_protocol; proxy_pass echo",
        "{} proxy_protocol; set_real_ip_from 127.0.0.0/8; proxy_pass echo",
        "{} proxy_protocol; set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:; proxy_pass echo; proxy_protocol on",
        "{} proxy_protocol; set_real_ip_from localhost; deny 10.1.2.0/24; allow 127.0.0.66; proxy_pass echo",
        "{}; proxy_protocol on; proxy_pass echo",
        "{} proxy_protocol; set_real_ip_from 127.0.0.1; proxy_protocol on; proxy_pass echo",
        f'{{}}; return "{tells} $status $upstream_addr{END.decode()}"',
        f'{{}} proxy_protocol; set_real_ip_from 127.0.0.1; return "{tells}{END.decode()}"',
        '{}; return ""',
        "{} proxy_protocol; proxy_protocol_timeout 150ms; proxy_pass echo",
        "{}; return never; deny all; proxy_pass echo",
        "{} proxy_protocol; set_real_ip_from ::/0; proxy_protocol on; proxy_pass echo",
    )
    blocks = (
        f"server {{ listen {text.format(name_of(address))}; }}" for text, address in zip(rest, where, strict=True)
    )
    return f"upstream echo {{ server {name_of(echo)}; }} deny 127.0.0.66; {' '.join(blocks)}"


class Act(NamedTuple):
    """What one client does."""

    listener: int
    says: bytes
    source: str = "127.0.0.1"
    leaves: str = ""
    """``reset`` or ``close``, without listening; ``half``: it has no more to say, but listens."""


ACTS = (
    *(Act(number, header + END) for number in (0, 1, 2, 3, 5, 7) for header in (V1, V1_IPV6, NO_ADDRESS)),
    *(Act(1, path.read_bytes() + END) for path in VALID),
    *(Act(11, path.read_bytes() + END, "::1") for path in VALID),
    *(Act(number, text) for number in (0, 7) for text in (b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP5 ", b"\0" * 200)),
    *(Act(number, text, leaves="half") for number in (0, 7) for text in (b"", b"P", V1[:-2], b"\r\n\r\n")),
    *(Act(number, b"", leaves=leaves) for number in (0, 7, 9) for leaves in ("close", "reset")),
    *(Act(number, END) for number in (4, 6, 8, 10)),
    *(Act(number, V1 + END, "127.0.0.66") for number in (0, 1, 3)),
    *(Act(number, END, "127.0.0.66") for number in (4, 6)),
    *(Act(number, b"") for number in (6, 8, 9, 10)),
)


def play(act: Act, where: Sequence[SocketAddress]) -> str:
    """What it hears, with what is nobody's choice made alike."""
    with socket.create_connection(where[act.listener], 30, (act.source, 0)) as client:
        own = client.getsockname()[1]
        with suppress(ConnectionError):
            client.sendall(act.says)
        heard = hear(client, act.leaves)
    text = heard.decode("latin-1")
    return re.sub(rf"\b{where[act.listener][1]}\b", "PORT", re.sub(rf"\b{own}\b", "OWN", text))


def hear(client: socket.socket, leaves: str) -> bytes:
    if leaves == "reset":
        reset(client)
    if leaves in ("reset", "close"):
        return b""
    if leaves == "half":
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
    heard = b""
    with suppress(ConnectionError):
        while not heard.endswith(END) and (piece := client.recv(65536)):
            heard += piece
    return heard


def played(where: Sequence[SocketAddress], log: Path) -> list[str]:
    """One after the other: the next when the line of the one before is there."""
    heard = []
    for number, act in enumerate(ACTS, 1):
        heard.append(play(act, where))
        eventually(lambda number=number: count(log) == number, f"{number} lines, after {act}")  # type: ignore[misc]
    return heard


@contextmanager
def by_nginx(directory: Path, stream: Callable[[Sequence[SocketAddress]], str]) -> Iterator[list[SocketAddress]]:
    sockets = [
        socket.create_server((host, 0), family=socket.AF_INET6) if ":" in host else listen(host) for host in HOSTS
    ]
    where: list[SocketAddress] = [sock.getsockname()[:2] for sock in sockets]
    config = f"{PREAMBLE} user root root; worker_processes 1; events {{}} stream {{ {stream(where)} }}"
    with running_nginx(directory, config, sockets):
        yield where


@contextmanager
def by_kubelb(directory: Path, stream: Callable[[Sequence[SocketAddress]], str]) -> Iterator[list[SocketAddress]]:
    with ExitStack() as stack:
        where = [stack.enter_context(reserved(host)) for host in HOSTS]
        file = directory / "nginx.conf"
        file.write_text(f"error_log stderr info; events {{}} stream {{ {stream(where)} }}")
        stack.enter_context(running(directory, "--nginx-conf", str(file)))
        yield where


class Seen(NamedTuple):
    heard: list[str]
    lines: list[dict[str, str]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """By nginx's clients and by kubelb's."""
    found = []
    with EchoServers() as echo_servers:
        [echo] = echo_servers.addresses
        for run in (by_nginx, by_kubelb):
            directory = tmp_path_factory.mktemp(run.__name__)
            log = directory / "access.log"
            settings = f"{FORMAT} access_log {log} plain;"
            with run(directory, lambda where, settings=settings: settings + servers(where, echo)) as where:  # type: ignore[misc]
                heard = played(where, log)
            found.append(Seen(heard, fields(log)))
    return found[0], found[1]


def test_what_clients_and_servers_hear(seen: tuple[Seen, Seen]) -> None:
    theirs, ours = seen
    for act, one, other in zip(ACTS, theirs.heard, ours.heard, strict=True):
        assert (act, other) == (act, one)
    assert sum(END.decode() in text for text in theirs.heard) > 30


def differing(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {name: (one[name], other[name]) for name in NAMES if one[name] != other[name]}


def test_every_field_of_every_line(seen: tuple[Seen, Seen]) -> None:
    theirs, ours = seen
    for act, one, other in zip(ACTS, theirs.lines, ours.lines, strict=True):
        assert (act, differing(alike(one), alike(other))) == (act, {})
    assert {line["status"] for line in theirs.lines} == {"200", "400", "403"}
