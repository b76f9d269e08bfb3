"""What a listening socket is told to be, as the kernel sees it, and that clients get the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding, Listener
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.snapshot import SocketAddress
from kubelb.supervisor.listeners import AddressInUse, listen, listen_patiently
from tests.support.identity import ask
from tests.support.proxy import KUBELB, Proxy, a_config, reserved, running, started

pytestmark = pytest.mark.usefixtures("no_leaks")

TCP = socket.IPPROTO_TCP


@contextmanager
def listening(binding: Binding, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with reserved(host) as address, listen(Address(*address), binding) as sock:
        yield sock


def test_options_reach_the_socket_and_what_it_accepts() -> None:
    binding = Binding(
        receive_buffer=40_000,
        send_buffer=50_000,
        keepalive=True,
        keepalive_idle=Duration(30),
        keepalive_interval=Duration(7),
        keepalive_count=4,
        fast_open=16,
    )
    with listening(binding) as sock, socket.create_connection(sock.getsockname()):
        accepted, _ = sock.accept()
        with accepted:
            for one in (sock, accepted):
                # The kernel doubles what it is asked for (socket(7)).
                assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 80_000
                assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 100_000
                assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert one.getsockopt(TCP, socket.TCP_KEEPIDLE) == 30
                assert one.getsockopt(TCP, socket.TCP_KEEPINTVL) == 7
                assert one.getsockopt(TCP, socket.TCP_KEEPCNT) == 4
        assert sock.getsockopt(TCP, socket.TCP_FASTOPEN) == 16


def test_a_client_that_vanishes_is_noticed_within_two_minutes() -> None:
    with listening(Binding()) as sock, socket.create_connection(sock.getsockname()):
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            silent = accepted.getsockopt(TCP, socket.TCP_KEEPIDLE)
            pause = accepted.getsockopt(TCP, socket.TCP_KEEPINTVL)
            # It is looked at when a question is due: the kernel's tcp_keepalive_timer, net/ipv4/tcp_timer.c.
            assert silent < accepted.getsockopt(TCP, socket.TCP_USER_TIMEOUT) / 1000 <= 120 - pause


def test_an_address_in_use_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, capture_logs() as said:
        address = Address(*busy.getsockname())
        with pytest.raises(AddressInUse):
            listen_patiently(address, Binding(), 0.001)
        assert [record["attempts_left"] for record in said] == [4, 3, 2, 1]
        threading.Timer(0.0, busy.close).start()
        listen_patiently(address, Binding(), 1.0).close()


def test_an_ipv6_socket_for_both_families() -> None:
    for ipv6_only in (True, False):
        with listening(Binding(ipv6_only=ipv6_only), "::") as sock:
            port = sock.getsockname()[1]
            assert reaches(("::1", port))
            assert reaches(("127.0.0.1", port)) is not ipv6_only


def reaches(address: SocketAddress) -> bool:
    try:
        socket.create_connection(address, timeout=30).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def a_bound(directory: Path, servers: list[SocketAddress], binding: Binding) -> Iterator[tuple[Proxy, Path, Config]]:
    with reserved() as address:
        config = with_binding(a_config(address, servers), binding)
        with running(directory, config=config) as proxy:
            yield proxy, directory / "kubelb.toml", config


def with_binding(config: Config, binding: Binding) -> Config:
    (listener,) = config.listeners
    changed = Listener(listen=listener.listen, pool=listener.pool, socket=binding)
    return Config(workers=config.workers, listeners=(changed,), pools=config.pools)


def test_an_upgrade_changes_the_options_of_a_socket_and_a_reload_does_not(
    tmp_path: Path, answering: list[SocketAddress]
) -> None:
    with a_bound(tmp_path, answering, Binding()) as (proxy, file, config):
        file.write_text(write_toml(with_binding(config, Binding(keepalive=True))))
        with pytest.raises(AdminFault, match=r"listener\[0\]\.socket\.keepalive: this cannot change by a reload"):
            adminclient.reload(proxy.runtime_dir)
        proxy.upgrade()
        assert ask(proxy.address)


@contextmanager
def two_in_a_row() -> Iterator[tuple[SocketAddress, SocketAddress]]:
    """Ports that follow each other, wherever the kernel has such."""
    with ExitStack() as stack:
        while True:
            first = stack.enter_context(reserved())
            with suppress(OSError):
                second = stack.enter_context(reserved(port=first[1] + 1))
                break
        yield first, second


def test_each_port_of_a_range(tmp_path: Path, answering: list[SocketAddress]) -> None:
    with two_in_a_row() as (first, second), ExitStack() as stack:
        file, runtime_dir = tmp_path / "nginx.conf", tmp_path / "run"
        server = "{}:{}".format(*answering[0])
        ports = f"{first[1]}-{second[1]}"
        file.write_text(f"events {{}} stream {{ server {{ listen 127.0.0.1:{ports}; proxy_pass {server}; }} }}")
        command = [str(KUBELB), "run", "--runtime-dir", str(runtime_dir), "--nginx-conf", str(file)]
        stack.enter_context(started(command, runtime_dir))
        assert ask(first) == ask(second) == server
