"""What TCP itself does for a session: it finds out that a server has vanished, and sends small writes at once."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubelb.config.values import Duration
from kubelb.relay.session import Session
from kubelb.snapshot import Pool, Server, SocketAddress
from kubelb.worker.sockets import connection, liveness
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, keep, leave
from tests.support.proxy import a_config, reserved, running
from tests.support.requirements import require_ipv6

pytestmark = pytest.mark.usefixtures("no_leaks")

TCP = socket.IPPROTO_TCP


def a_pool(**settings: Any) -> Pool:
    server = Server(slot=1, name="x:1", address=("127.0.0.1", 1))
    return Pool(name="pool", balance="least_conn", hash_key="", servers=(server,), **settings)


def in_force(pool: Pool, address: SocketAddress = ("127.0.0.1", 1)) -> tuple[int, int, int, int, int]:
    """TCP_NODELAY, SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_USER_TIMEOUT of a server connection."""
    sock = connection(address)
    Session(sock, sock, 1, 0.0, lasting=liveness(pool)).settle()
    values = (
        sock.getsockopt(TCP, socket.TCP_NODELAY),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(TCP, socket.TCP_USER_TIMEOUT),
    )
    sock.close()
    return values


def test_the_defaults() -> None:
    assert in_force(a_pool(keepalive=5.0, user_timeout=10.0)) == (1, 1, 5, 1, 10_000)


def test_the_smallest_and_the_largest() -> None:
    assert in_force(a_pool(keepalive=1.0, user_timeout=0.001)) == (1, 1, 1, 1, 1)
    assert in_force(a_pool(keepalive=32767.0, user_timeout=2147483.0)) == (1, 1, 32767, 10922, 2147483000)


def test_off() -> None:
    idle, interval = (int(Path(f"/proc/sys/net/ipv4/tcp_keepalive_{name}").read_text()) for name in ("time", "intvl"))
    assert in_force(a_pool(keepalive=0.0, user_timeout=0.0)) == (1, 0, idle, interval, 0)
    assert in_force(a_pool(keepalive=7.5, user_timeout=0.0)) == (1, 1, 8, 2, 0)
    assert in_force(a_pool(keepalive=0.0, user_timeout=1.5)) == (1, 0, idle, interval, 1500)


def test_over_ipv6_as_well() -> None:
    require_ipv6()
    assert in_force(a_pool(keepalive=5.0, user_timeout=10.0), ("::1", 1)) == (1, 1, 5, 1, 10_000)


def timers(server: SocketAddress) -> list[tuple[int, float]]:
    """Of the proxy's connections to the server: which timer runs (2: keepalive), and in how many seconds it is due.

    proc_net_tcp.rst of the kernel's documentation: ``tr:tm->when``, in hundredths of seconds.
    """
    remote = f"{int.from_bytes(socket.inet_aton(server[0]), 'little'):08X}:{server[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = (re.fullmatch(r"(\w+):(\w+)", line[5]) for line in lines if line[2] == remote and line[3] == "01")
    return [(int(match[1], 16), int(match[2], 16) / 100) for match in found if match]


@pytest.mark.parametrize("keepalive", [5, 0])
def test_a_silent_server_is_asked_whether_it_is_there(
    tmp_path: Path, servers: IdentityServers, keepalive: int
) -> None:
    (server,) = servers.addresses
    with reserved() as listen:
        config = a_config(listen, [server])
        pool = msgspec.structs.replace(config.pools["pool"], keepalive=Duration(keepalive))
        with running(tmp_path, config=msgspec.structs.replace(config, pools={"pool": pool})) as proxy:
            client, _ = keep(proxy.address)
            eventually(lambda: proxy.servers()[0].bytes_down, "its bytes are in the books, so it has lasted")
            ((timer, due),) = timers(server)
            assert (timer, 0 < due <= 5) == ((2, True) if keepalive else (0, False))
            leave(client)
