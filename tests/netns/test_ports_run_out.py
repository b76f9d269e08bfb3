"""The node's ports towards its servers are used up: that is no server's fault, in dials and in probes.

One namespace stands for the node and has a narrow range of ports.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from kubelb.config.model.pools import Health
from kubelb.config.values import Duration
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import asked, keep, leave
from tests.support.leaks import no_leaks  # noqa: F401
from tests.support.netns import Namespace, require_namespaces
from tests.support.proxy import EchoServers, a_config, echoes, reserved, running

_PORTS = 100

pytestmark = pytest.mark.netns


@pytest.fixture
def node() -> Iterator[Namespace]:
    require_namespaces()
    namespace = Namespace()
    with namespace.entered():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"40000 {40000 + _PORTS - 1}\n")
    yield namespace
    namespace.close()


def one_more(listen: SocketAddress, source: str) -> list[socket.socket]:
    """Nobody, where it is turned away."""
    try:
        client, name = keep(listen, source)
    except ConnectionResetError:
        return []
    if not name:
        client.close()
    return [client] if name else []


def test_sessions_stay_and_servers_stay_up(node: Namespace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(node.entered())
        servers = stack.enter_context(EchoServers(("127.0.0.1", "127.0.0.1")))
        listen = stack.enter_context(reserved(port=6443))
        config = a_config(listen, servers.addresses)
        health = Health(probe="tcp", interval=Duration(0.1), timeout=Duration(1))
        pools = {"pool": msgspec.structs.replace(config.pools["pool"], health=health)}
        config = msgspec.structs.replace(config, pools=pools)
        proxy = stack.enter_context(running(tmp_path, config=config))
        eventually(lambda: {server.state for server in proxy.servers()} == {"up"}, "they are up")
        clients: list[socket.socket] = []
        while not proxy.log.events("connect_impossible"):
            clients += one_more(listen, source=f"127.0.1.{1 + len(clients) // 50}")
        proxy.log.wait_for("probe_impossible")
        told = proxy.log.events("connect_impossible")[0]
        assert "ip_local_port_range" in told["reason"]
        assert {server.state for server in proxy.servers()} == {"up"}
        assert [(server.failing, server.dial_failures) for server in proxy.servers()] == [(False, 0)] * 2
        assert all(map(echoes, clients)), "no session has been reset"
        for client in clients[:40]:
            leave(client)
        eventually(lambda: asked(listen, source="127.0.1.9"), "there is room again, once nothing is in TIME_WAIT")
        for one in clients[40:]:
            leave(one)
        assert not [*proxy.log.events("server_down"), *proxy.log.events("server_failing")]
