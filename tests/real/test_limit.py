"""Limits hold over all workers, and through what becomes of workers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from kubelb.config.model.listeners import Limit
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, refusing
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

MOST = 4


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with EchoServers() as echo_servers:
        yield echo_servers.addresses


@pytest.fixture
def proxy(tmp_path: Path, servers: list[SocketAddress]) -> Iterator[Proxy]:
    with reserved() as address:
        config = a_config(address, servers)
        limits = (Limit(key="$remote_addr", connections=MOST),)
        (listener,) = (msgspec.structs.replace(listener, limits=limits) for listener in config.listeners)
        with running(tmp_path, config=msgspec.structs.replace(config, listeners=(listener,))) as proxy:
            yield proxy


def come(proxy: Proxy, stack: ExitStack) -> socket.socket | None:
    """One who stays, or None: he was not let in."""
    client, name = keep(proxy.address)
    stack.enter_context(client)
    return client if name else None


def crowd(proxy: Proxy, stack: ExitStack) -> list[socket.socket]:
    """As many as there may be."""
    clients = [client for _ in range(MOST + 2) if (client := come(proxy, stack)) is not None]
    assert len(clients) == MOST
    return clients


def test_an_upgrade_takes_along_who_is_counted(proxy: Proxy) -> None:
    with ExitStack() as stack:
        clients = crowd(proxy, stack)
        proxy.upgrade()
        assert all(map(echoes, clients))
        assert come(proxy, stack) is None
        leave(clients.pop())
        clients += [client for _ in range(2) if (client := come(proxy, stack)) is not None]
        assert len(clients) == MOST
        for client in clients:
            leave(client)
        for client in crowd(proxy, stack):
            leave(client)


def test_who_dies_with_his_worker_is_counted_no_more(proxy: Proxy) -> None:
    with ExitStack() as stack:
        clients = crowd(proxy, stack)
        workers = proxy.workers()
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
        for client in clients:
            with suppress(ConnectionResetError):
                while client.recv(100):
                    pass
        eventually(lambda: len(proxy.workers()) == len(workers), "there are others")
        for client in crowd(proxy, stack):
            leave(client)


def test_who_is_turned_away_is_counted_no_more(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """By a rule for clients, or for want of a server."""
    with reserved() as address, refusing(["127.0.0.2"]) as (dead,):
        config = a_config(address, [dead])
        (listener,) = config.listeners
        listener = msgspec.structs.replace(
            listener, access=("deny 127.0.0.77",), limits=(Limit(key="$server_addr", connections=1),)
        )
        with running(tmp_path, config=msgspec.structs.replace(config, listeners=(listener,))) as proxy:
            for source in ("127.0.0.77", "127.0.0.1") * 3:
                with suppress(ConnectionResetError):
                    client, _ = keep(address, source)
                    client.close()
            assert not proxy.log.events("limiting_connections")
