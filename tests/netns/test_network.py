"""The network of the chaos tests is what it says: what vanishes there vanishes without a word."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.netns import Network

PORT = 7443

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]


@contextmanager
def session(network: Network, server: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from the node to a server: its two ends."""
    with network.servers[server].entered():
        listener = socket.create_server((network.hosts[server], PORT))
    with listener:
        with network.node.entered():
            client = socket.create_connection((network.hosts[server], PORT), timeout=30)
        with client, listener.accept()[0] as other:
            other.settimeout(30)
            yield client, other


def hears(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


def test_servers_are_reached_and_refuse(network: Network) -> None:
    for server, host in enumerate(network.hosts):
        with session(network, server) as (client, other):
            client.sendall(b"x")
            assert other.recv(1) == b"x"
        with network.node.entered(), pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, PORT), timeout=30)


def test_a_powered_off_server_is_silent(network: Network) -> None:
    with session(network, 0) as (client, other):
        with network.powered_off(0):
            client.sendall(b"x")
            other.sendall(b"y")
            with network.node.entered(), pytest.raises(TimeoutError):
                socket.create_connection((network.hosts[0], PORT), timeout=0.3)
            assert not hears(client, 0)
            assert not hears(other, 0)
        # TCP sends again what was lost, so nothing else has happened to the connection.
        assert (other.recv(1), client.recv(1)) == (b"x", b"y")


def test_one_way_loss(network: Network) -> None:
    with session(network, 1) as (client, other), network.one_way_loss(1):
        other.sendall(b"y")
        client.sendall(b"x")
        assert other.recv(1) == b"x"
        assert not hears(client, 0.1)


def test_a_slow_server(network: Network) -> None:
    with session(network, 2) as (client, other), network.slow(2, 0.2):
        began = time.monotonic()
        client.sendall(b"x")
        assert other.recv(1) == b"x"
        assert time.monotonic() - began >= 0.2
        other.sendall(b"y")
        assert client.recv(1) == b"y"


def test_the_others_are_not_concerned(network: Network) -> None:
    with network.powered_off(0), network.slow(1, 60), session(network, 2) as (client, other):
        client.sendall(b"x")
        assert other.recv(1) == b"x"
        with suppress(TimeoutError), network.node.entered():
            socket.create_connection((network.hosts[0], PORT), timeout=0.01)
