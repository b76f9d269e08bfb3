"""Listening sockets that systemd has bound: the whole program, started as systemd starts it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Admin, Config
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address
from kubelb.snapshot import SocketAddress
from tests.support import activate, debian
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, name_of
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, Proxy, a_config, reserved, started
from tests.support.requirements import missing

pytestmark = pytest.mark.usefixtures("no_leaks")

Named = tuple[socket.socket | int, str]


def listening(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def the_command(directory: Path, config: Config, *passed: Named) -> tuple[list[str], list[int]]:
    """With the descriptors it needs."""
    (directory / "kubelb.toml").write_text(write_toml(config))
    fds = [sock if isinstance(sock, int) else sock.fileno() for sock, _ in passed]
    launcher = [
        sys.executable,
        activate.__file__,
        *(f"{fd}={name}" for fd, (_, name) in zip(fds, passed, strict=True)),
    ]
    return [*launcher, "--", *kubelb(directory)], fds


def kubelb(directory: Path) -> list[str]:
    return [str(KUBELB), "run", "--runtime-dir", str(directory / "run"), "--config", str(directory / "kubelb.toml")]


@contextmanager
def activated(directory: Path, config: Config, *passed: Named) -> Iterator[Proxy]:
    command, fds = the_command(directory, config, *passed)
    with started(command, directory / "run", pass_fds=fds) as proxy:
        yield proxy


def refusal(directory: Path, config: Config, *passed: Named) -> list[str]:
    """The lines it ends with."""
    command, fds = the_command(directory, config, *passed)
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, pass_fds=fds, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert not list((directory / "run").glob("*"))
    return done.stderr.splitlines()


def a_listener_on(*addresses: Address, servers: list[SocketAddress], **settings: object) -> Config:
    config = a_config(("127.0.0.1", 1), servers)
    listener = msgspec.structs.replace(config.listeners[0], listen=addresses)
    return msgspec.structs.replace(config, listeners=(listener,), **settings)


def test_a_restart_loses_nobody(tmp_path: Path, servers: IdentityServers) -> None:
    with listening() as sock, ExitStack() as stack:
        config = a_listener_on(address_of(sock), servers=servers.addresses)
        for _ in range(2):
            early = stack.enter_context(socket.create_connection(sock.getsockname(), DEADLINE))
            with activated(tmp_path, config, (sock, "kubelb.socket")) as proxy:
                assert early.recv(100)
                assert ask(proxy.address)


def test_whatever_listens_can_be_passed_or_not(tmp_path: Path, servers: IdentityServers) -> None:
    with reserved() as own, listening() as one, listening() as health, listening() as side:
        config = a_listener_on(
            Address(*own),
            address_of(one),
            servers=servers.addresses,
            http=(HttpServer(listen=(address_of(health),), locations=(Location(path="/", status=204),)),),
            admin=Admin(listen=address_of(side)),
        )
        # In another order than the configuration's, and named alike.
        with activated(tmp_path, config, (side, "kubelb.socket"), (one, "kubelb.socket"), (health, "h")) as proxy:
            assert proxy.addresses == [own, one.getsockname()]
            assert all(ask(address) for address in proxy.addresses)
            assert _get(health, "/") == 204
            assert _get(side, "/healthz") == 200


def _get(sock: socket.socket, path: str) -> int:
    host, port = sock.getsockname()
    with closing(http.client.HTTPConnection(host, port, timeout=DEADLINE)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def test_an_address_in_another_form(tmp_path: Path, servers: IdentityServers) -> None:
    try:
        six = listening("::1")
    except OSError:
        missing("IPv6")
    with six:
        address = Address("0:0::0001", six.getsockname()[1])
        with activated(tmp_path, a_listener_on(address, servers=servers.addresses), (six, "kubelb.socket")):
            assert ask(six.getsockname()[:2])


def test_they_are_as_our_own(tmp_path: Path, servers: IdentityServers) -> None:
    with listening() as sock:
        sock.setblocking(True)
        config = a_listener_on(address_of(sock), servers=servers.addresses)
        with activated(tmp_path, config, (sock, "kubelb.socket")) as proxy:
            # Of the file behind the descriptor, so it shows here.
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not os.get_blocking(sock.fileno())
            flags = Path(f"/proc/{proxy.pid}/fdinfo/3").read_text().splitlines()[1].split()[1]
            assert int(flags, 8) & os.O_CLOEXEC


def test_a_reload_keeps_them(tmp_path: Path, servers: IdentityServers) -> None:
    with listening() as sock:
        config = a_listener_on(address_of(sock), servers=servers.addresses)
        with activated(tmp_path, config, (sock, "kubelb.socket")) as proxy:
            assert adminclient.reload(proxy.runtime_dir) == ()
            assert ask(proxy.address)


def test_an_upgrade_keeps_them(tmp_path: Path, servers: IdentityServers) -> None:
    with listening() as sock:
        config = a_listener_on(address_of(sock), servers=servers.addresses)
        with activated(tmp_path, config, (sock, "kubelb.socket")) as proxy:
            proxy.upgrade()
            assert ask(sock.getsockname())


USE_ADDRESSES = "let the socket unit have ListenStream=ADDRESS:PORT"


def a_line(passed: str, what: str, instead: str) -> str:
    return f"cannot use the socket {passed} that systemd has passed: {what}; {instead}"


def test_one_that_nobody_wants_is_refused(tmp_path: Path, servers: IdentityServers) -> None:
    with listening() as one, listening("127.0.0.2") as other, listening("0.0.0.0") as anywhere:
        here = Address("127.0.0.1", anywhere.getsockname()[1])
        config = a_listener_on(address_of(one), here, servers=servers.addresses)
        known = f"what is configured: {address_of(one)}, {here}"
        assert refusal(tmp_path, config, (other, "other.socket"), (one, "one"), (anywhere, "any\twhere")) == [
            a_line('"other.socket" (descriptor 3)', f"nothing is configured to listen on {address_of(other)}", known),
            a_line(
                '"any\\twhere" (descriptor 5)', f"nothing is configured to listen on {address_of(anywhere)}", known
            ),
        ]


def test_one_that_is_passed_twice_is_refused(tmp_path: Path, servers: IdentityServers) -> None:
    with listening() as sock:
        config = a_listener_on(address_of(sock), servers=servers.addresses)
        (line,) = refusal(tmp_path, config, (sock, "a"), (sock, "b"))
        assert line.startswith('cannot use the socket "b" (descriptor 4)')


def test_what_is_no_listening_tcp_socket_is_refused(tmp_path: Path, servers: IdentityServers) -> None:
    config = a_config(("127.0.0.1", 1), servers.addresses)

    def line(passed: socket.socket | int) -> str:
        (found,) = refusal(tmp_path, config, (passed, "x"))
        return found.removeprefix('cannot use the socket "x" (descriptor 3) that systemd has passed: ')

    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "unix"))
        unix.listen()
        assert line(unix) == f"kubelb has its unix sockets, and their files, to itself; {USE_ADDRESSES}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        assert line(udp) == f"it is no TCP socket; {USE_ADDRESSES}"
    with reserved() as address, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind(address)
        assert line(deaf) == "it does not listen; let the socket unit have Accept=no"
    with Path(os.devnull).open("rb") as file:
        assert line(file.fileno()) == f"not a socket; {USE_ADDRESSES}"


def test_one_that_takes_both_families_is_refused(tmp_path: Path, servers: IdentityServers) -> None:
    if not socket.has_dualstack_ipv6():
        missing("IPv6")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as dual:
        config = a_listener_on(address_of(dual), servers=servers.addresses)
        (line,) = refusal(tmp_path, config, (dual, "dual.socket"))
        assert line.endswith("BindIPv6Only=ipv6-only, and ListenStream=0.0.0.0:PORT if IPv4 is wanted")


def test_sockets_for_somebody_else_are_let_be(tmp_path: Path, servers: IdentityServers) -> None:
    with reserved() as listen:
        (tmp_path / "kubelb.toml").write_text(write_toml(a_config(listen, servers.addresses)))
        environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
        with started(kubelb(tmp_path), tmp_path / "run", environment) as proxy:
            assert ask(proxy.address)


@debian.SYSTEMD
def test_by_systemds_own_tool(tmp_path: Path, servers: IdentityServers) -> None:
    """It starts the program when the first client is there."""
    tool = debian.provided("systemd-socket-activate")
    with reserved() as listen, ExitStack() as stack:
        (tmp_path / "kubelb.toml").write_text(write_toml(a_config(listen, servers.addresses)))
        command = [tool, f"--listen={name_of(listen)}", "--fdname=kubelb.socket", *kubelb(tmp_path)]
        client = stack.enter_context(socket.socket())
        client.settimeout(DEADLINE)

        def connected() -> bool:
            return client.connect_ex(listen) == 0

        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        proxy = Proxy(process, tmp_path / "run")
        stack.callback(proxy.clean_up)
        eventually(connected, "the tool listens")
        proxy.log.wait_for("started")
        assert client.recv(100)
        assert ask(listen)
        assert proxy.end() == 0
