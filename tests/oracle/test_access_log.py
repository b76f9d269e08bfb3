"""The same clients before nginx and before kubelb: the lines of their access logs, field by field."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubelb.config.variables import Worker, session_variables
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, keep, leave, name_of, refusing, reset
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import EchoServers, echoes, reserved, running

NAMES = sorted(session_variables(Worker("", 0)))
OWN = {
    "connection",
    "msec",
    "nginx_version",
    "pid",
    "realip_remote_port",
    "remote_port",
    "server_port",
    "time_iso8601",
    "time_local",
}
"""What cannot be the same in both; times of the session, too, are compared by their form."""
MARK = "\x1f"
FORMATS = {
    "plain": " ".join(f"'{name}=${name}{MARK}'" for name in NAMES),
    "json": "escape=json " + " ".join(f"'{name}=${{{name}}}{MARK}'" for name in NAMES),
    "none": "escape=none '$remote_addr\"' '$upstream_addr' '$protocol'",
    "addresses": "'$binary_remote_addr $server_addr'",
}
Line = dict[str, str]


class Stage:
    """The servers that both proxies have."""

    def __init__(self, stack: ExitStack) -> None:
        echo = stack.enter_context(EchoServers(("127.0.0.1",)))
        closing = stack.enter_context(IdentityServers(("127.0.0.1",)))
        self.dead = stack.enter_context(refusing(("127.0.0.2", "127.0.0.3")))
        self.breaking = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.breaking.settimeout(30)
        (self.echo,), (self.closing,) = echo.addresses, closing.addresses

    def stream(self, where: Sequence[SocketAddress], logs: Path) -> str:
        """``where`` are the addresses of the listeners."""
        formats = "".join(f"log_format {name} {text};" for name, text in FORMATS.items())
        written = "".join(f"access_log {logs}/{name}.log {name};" for name in FORMATS)
        one, other = map(name_of, self.dead)
        passes = (
            "mixed",
            "dead",
            "full",
            "left",
            name_of(self.closing),
            name_of(self.echo),
            name_of(self.breaking.getsockname()),
        )
        servers = "".join(
            f"server {{ listen {name_of(address)}; proxy_timeout 300ms; proxy_pass {target}; }}"
            for address, target in zip(where, (*passes, name_of(self.echo)), strict=True)
        )
        return f"""stream {{ {formats} {written}
            access_log {logs}/if.log plain if=$upstream_bytes_sent;
            access_log {logs}/none-if.log plain if=0;
            upstream mixed {{ server {one}; server {name_of(self.echo)}; server {other}; }}
            upstream dead {{ server {one}; server {other}; }}
            upstream full {{ server {name_of(self.echo)} max_conns=1; }}
            upstream left {{ server {one} max_fails=0; server {name_of(self.echo)} max_conns=1; }}
            {servers}
        }}"""

    def play(self, where: Sequence[SocketAddress], lines: Callable[[], int]) -> None:
        """The clients, one after the other: the next when the line of the one before is there."""
        mixed, dead, full, left, anywhere, idle, broken, six = where
        held: list[socket.socket] = []
        acts: list[Callable[[], None]] = [
            lambda: speak(mixed, b""),
            lambda: speak(mixed, b"hello"),
            lambda: speak(mixed, b"x" * 100_000, "127.0.0.77"),
            lambda: refused(dead),
            lambda: held.append(refused_beside_another(full)),
            lambda: leave(held.pop()),
            lambda: held.append(refused_beside_another(left)),
            lambda: leave(held.pop()),
            lambda: leave(keep(("127.0.0.9", anywhere[1]), "127.92.34.11")[0]),
            lambda: stay_silent(idle),
            lambda: reset(keep(mixed)[0]),
            lambda: be_reset(broken, self.breaking),
            lambda: speak(six, b"six"),
        ]
        for number, act in enumerate(acts, 1):
            act()
            eventually(lambda number=number: lines() == number, f"{number} lines")  # type: ignore[misc]


def speak(address: SocketAddress, words: bytes, source: str | None = None) -> None:
    client, _ = keep(address, source)
    assert not words or echoes(client, words)
    leave(client)


def refused(address: SocketAddress) -> None:
    """nginx closes, kubelb resets, be it before the client has noticed that it is connected."""
    try:
        client, name = keep(address)
    except ConnectionResetError:
        return
    client.close()
    assert name == ""


def refused_beside_another(address: SocketAddress) -> socket.socket:
    """The other, who stays."""
    client, _ = keep(address)
    refused(address)
    return client


def stay_silent(address: SocketAddress) -> None:
    client, _ = keep(address)
    with client:
        assert client.recv(1) == b""


def be_reset(address: SocketAddress, server: socket.socket) -> None:
    with socket.create_connection(address, timeout=30) as client:
        session, _ = server.accept()
        client.sendall(b"hello")
        assert session.recv(5) == b"hello"
        reset(session)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def fields(file: Path) -> list[Line]:
    """Of each line."""
    return [
        dict(part.split("=", 1) for part in line.split(MARK)[:-1])
        for line in file.read_bytes().decode("latin-1").splitlines()
    ]


def alike(line: Line) -> Line:
    """What has to be the same: times by their form, other own values as the form of a number."""
    return {
        name: re.sub(r"[0-9]+", "9", value) if name in OWN or name.endswith("_time") else value
        for name, value in line.items()
    }


def count(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


@contextmanager
def by_nginx(directory: Path, stage: Stage) -> Iterator[list[SocketAddress]]:
    hosts = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "0.0.0.0", "127.0.0.1", "127.0.0.1"]
    sockets = [*map(listen, hosts), socket.create_server(("::1", 0), family=socket.AF_INET6)]
    where: list[SocketAddress] = [sock.getsockname()[:2] for sock in sockets]
    config = f"{PREAMBLE} user root root; worker_processes 1; events {{}} {stage.stream(where, directory)}"
    with running_nginx(directory, config, sockets):
        yield where


@contextmanager
def by_kubelb(directory: Path, stage: Stage) -> Iterator[list[SocketAddress]]:
    hosts = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "0.0.0.0", "127.0.0.1", "127.0.0.1", "::1"]
    with ExitStack() as stack:
        where = [stack.enter_context(reserved(host)) for host in hosts]
        file = directory / "nginx.conf"
        file.write_text(f"error_log stderr info; events {{}} {stage.stream(where, directory)}")
        stack.enter_context(running(directory, "--nginx-conf", str(file)))
        yield where


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directories with nginx's and kubelb's."""
    made = []
    with ExitStack() as stack:
        stage = Stage(stack)
        for run in (by_nginx, by_kubelb):
            directory = tmp_path_factory.mktemp(run.__name__)
            with run(directory, stage) as where:
                stage.play(where, lambda directory=directory: count(directory / "addresses.log"))  # type: ignore[misc]
            made.append(directory)
    return made[0], made[1]


@pytest.mark.parametrize("name", ["plain", "json", "if"])
def test_every_field_of_every_line(name: str, logs: tuple[Path, Path]) -> None:
    theirs, ours = (fields(directory / f"{name}.log") for directory in logs)
    assert len(theirs) == (8 if name == "if" else 13)
    assert set(theirs[0]) == set(NAMES)
    for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
        assert (number, alike(other)) == (number, alike(one))


@pytest.mark.parametrize("name", ["none", "addresses"])
def test_bytes_as_they_are(name: str, logs: tuple[Path, Path]) -> None:
    theirs, ours = ((directory / f"{name}.log").read_bytes() for directory in logs)
    assert ours == theirs


def test_who_is_not_wanted_is_not_logged(logs: tuple[Path, Path]) -> None:
    assert [(directory / "none-if.log").read_bytes() for directory in logs] == [b"", b""]


def test_the_numbers_are_ones_own(logs: tuple[Path, Path]) -> None:
    """What :func:`alike` does not look at."""
    lines = fields(logs[1] / "plain.log")
    assert len({line["connection"] for line in lines}) == len(lines)
    assert len({line["pid"] for line in lines}) == 1
    assert all(float(line["session_time"]) < 30 for line in lines)
    idle = lines[9]
    assert float(idle["session_time"]) >= 0.3
    assert float(idle["upstream_session_time"]) >= 0.3 > float(idle["upstream_first_byte_time"])
