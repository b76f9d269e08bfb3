"""Sessions that find their way back to where they belong, through the whole proxy."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Health, Pool, Rebalance, Server
from kubelb.config.values import Address, Duration
from kubelb.control.commands import Drain, Undrain
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave, name_of
from tests.support.proxy import EchoServers, Proxy, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

AT_ONCE = Duration(0.05)
PROBED = Health(probe="tcp", interval=AT_ONCE, slow_start=Duration(0))
SETTINGS = Rebalance(every=AT_ONCE, threshold=0.1, quiet=Duration(0))


@contextmanager
def balanced(
    directory: Path, tiers: tuple[int, ...], rebalance: Rebalance | None
) -> Iterator[tuple[Proxy, list[str]]]:
    """A proxy with a server of each tier, all of them up, and the servers' names."""
    with EchoServers(["127.0.0.1"] * len(tiers)) as servers, reserved() as listen:
        members = [
            Server(address=Address(*address), tier=tier)
            for address, tier in zip(servers.addresses, tiers, strict=True)
        ]
        config = Config(
            workers=2,
            listeners=(Listener(listen=(Address(*listen),), pool="pool"),),
            pools={"pool": Pool(servers=tuple(members), health=PROBED, rebalance=rebalance)},
        )
        with running(directory, config=config) as proxy:
            eventually(lambda: {server.state for server in proxy.servers()} == {"up"}, "all servers are up")
            yield proxy, [name_of(address) for address in servers.addresses]


class Clients:
    """Long-lived ones, that come back when they are sent away."""

    def __init__(self, proxy: SocketAddress, count: int) -> None:
        self._proxy = proxy
        self._held = [keep(proxy) for _ in range(count)]

    def where(self) -> Counter[str]:
        """Who is where, those that were sent away dialled again."""
        self._held = [self._again(client, name) for client, name in self._held]
        return Counter(name for _, name in self._held)

    def _again(self, client: socket.socket, name: str) -> tuple[socket.socket, str]:
        client.setblocking(False)
        try:
            assert client.recv(1) == b"", "sent away orderly"
        except BlockingIOError:
            client.setblocking(True)
            return client, name
        client.close()
        return keep(self._proxy)

    def all_echo(self) -> bool:
        return all(echoes(client) for client, _ in self._held)

    def __enter__(self) -> Clients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client, _ in self._held:
            leave(client)


def emptied(proxy: Proxy, server: str) -> None:
    adminclient.command(proxy.runtime_dir, Drain(server))
    eventually(lambda: server not in {ask(proxy.address) for _ in range(8)}, "both workers know")


def taken_back(proxy: Proxy, server: str) -> None:
    adminclient.command(proxy.runtime_dir, Undrain(server))
    eventually(lambda: {server.state for server in proxy.servers()} == {"up"}, "it is used again")


def test_sessions_go_back_to_a_server_that_was_away(tmp_path: Path) -> None:
    with balanced(tmp_path, (0, 0, 0), SETTINGS) as (proxy, names):
        emptied(proxy, names[0])
        with Clients(proxy.address, 12) as clients:
            eventually(lambda: clients.where() == {names[1]: 6, names[2]: 6}, "none is where it should not be")
            taken_back(proxy, names[0])
            eventually(lambda: clients.where() == dict.fromkeys(names, 4), "an even share for each")
            assert clients.all_echo()


def test_without_rebalancing_they_stay(tmp_path: Path) -> None:
    with balanced(tmp_path, (0, 0), None) as (proxy, names):
        emptied(proxy, names[0])
        with Clients(proxy.address, 4) as clients:
            taken_back(proxy, names[0])
            assert clients.where() == {names[1]: 4}
            assert clients.all_echo()


def test_sessions_on_a_worse_tier_move_back(tmp_path: Path) -> None:
    with balanced(tmp_path, (0, 1), SETTINGS) as (proxy, names):
        emptied(proxy, names[0])
        with Clients(proxy.address, 5) as clients:
            assert clients.where() == {names[1]: 5}
            taken_back(proxy, names[0])
            eventually(lambda: clients.where() == {names[0]: 5}, "all are on the better tier")
