"""What a worker had no room for when it came is sent again, and a reload says who has not got it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address
from kubelb.deadlines import Deadlines
from tests.support.eventually import eventually
from tests.support.identity import asked
from tests.support.program import impatient
from tests.support.proxy import EchoServers, a_config, reserved

_FILES = 200
"""Descriptors that a worker may have."""


def test_an_address_whose_socket_did_not_arrive_is_served_at_last(tmp_path: Path) -> None:
    with EchoServers() as servers, reserved() as listen, reserved() as more, ExitStack() as held:
        config = a_config(listen, servers.addresses, workers=1, threads=1, max_open_files=_FILES)
        proxy = held.enter_context(impatient(tmp_path, config, Deadlines(follow=0.1)))
        (worker,) = proxy.workers()
        clients: list[socket.socket] = []
        while worker.num_fds() < _FILES:
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listen)
            clients.append(client)
        (listener,) = config.listeners
        wider = msgspec.structs.replace(listener, listen=(*listener.listen, Address(*more)))
        config = msgspec.structs.replace(config, listeners=(wider,))
        (tmp_path / "kubelb.toml").write_text(write_toml(config))
        (warning,) = adminclient.reload(proxy.runtime_dir)
        assert f"worker-0 (pid {worker.pid}) has not heard of it yet" in warning
        proxy.log.wait_for("worker_behind")
        for client in clients:
            client.close()
        eventually(lambda: asked(more), "the address is served")
        eventually(lambda: not proxy.log.events("child_died"), "by the same worker")
        assert proxy.workers() == [worker]


@pytest.fixture(autouse=True)
def nothing_left(no_leaks: None) -> None:
    """As for all tests of real processes."""
