"""The load itself: it sees what it should see, through worse proxies too, and knows what explains it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kubelb.snapshot import SocketAddress
from tests.support import debian
from tests.support.load.faults import unexplained
from tests.support.load.line import Line
from tests.support.load.loop import Loop, together
from tests.support.load.records import BOTH, Plan
from tests.support.load.running import Load
from tests.support.load.servers import Door, Servers
from tests.support.load.stage import a_stage, kill_worker
from tests.support.proxy import reserved

pytestmark = pytest.mark.usefixtures("no_leaks")

FEW = Plan(new=2, regular=8, bulk=(BOTH,), idle=20, patience=5)
_GOOD = 4_000_000
"""Bytes of a connection, one way, after which a bad proxy shows what it is."""
_PIECE = 65536

Spoil = Callable[[bytes], Awaitable[bytes]]


class BadProxy:
    """On the load's event loop; ``spoil`` is what it makes of bytes."""

    def __init__(self, address: SocketAddress, server: SocketAddress, spoil: Spoil) -> None:
        self._address = address
        self._server = server
        self._spoil = spoil

    async def start(self) -> None:
        self._door = Door(self._address, self._serve)

    async def stop(self) -> None:
        await self._door.close()

    async def _serve(self, client: socket.socket) -> None:
        with Line(client) as one, Line(socket.socket()) as other, suppress(ConnectionError):
            await other.connect(self._server)
            await together(self._forward(one, other), self._forward(other, one))

    async def _forward(self, source: Line, destination: Line) -> None:
        moved = 0
        while piece := await source.some(_PIECE):
            moved += len(piece)
            await destination.send(piece if moved < _GOOD else await self._spoil(piece))
        destination.shut()


@contextmanager
def a_bad_proxy(loop: Loop, server: SocketAddress, spoil: Spoil) -> Iterator[SocketAddress]:
    with reserved() as address:
        proxy = BadProxy(address, server, spoil)
        loop.do(proxy.start())
        yield address
        loop.do(proxy.stop())


async def changed(piece: bytes) -> bytes:
    return bytes([piece[0] ^ 1]) + piece[1:]


async def lost(piece: bytes) -> bytes:
    return b""


async def cut(piece: bytes) -> bytes:
    raise ConnectionAbortedError


async def held_back(piece: bytes) -> bytes:
    await asyncio.sleep(3600)
    return piece


@pytest.mark.parametrize(
    ("spoil", "hows"),
    [(changed, {"wrong"}), (lost, {"ended"}), (held_back, {"late"}), (cut, {"ended", "reset"})],
)
def test_what_a_proxy_does_wrong(spoil: Spoil, hows: set[str]) -> None:
    with reserved() as server, Loop() as loop, Servers(loop, [server]) as servers:
        with a_bad_proxy(loop, server, spoil) as address, Load(loop, address, FEW) as load:
            result = load.finish()
        assert result.failures
        assert {failure.client for failure in result.failures} == {"bulk, both ways"}
        assert {failure.how for failure in result.failures} <= hows
        assert {failure.server for failure in result.failures} == {servers.name(0)}
        assert (result.transfers, result.idle) == (0, FEW.idle)


def test_a_killed_server_explains_its_sessions_failures_and_no_others(tmp_path: Path) -> None:
    # Nobody may be in the middle of anything on the server that is killed: then there is another trial.
    for trial in range(10):
        directory = tmp_path / str(trial)
        directory.mkdir()
        with a_stage(directory, FEW) as stage:
            kill = stage.servers.kill(0)
            stage.load.wait_for_progress()
            failures = stage.load.finish().failures
            assert unexplained(failures, [kill]) == []
            known = [failure for failure in failures if failure.server]
            assert unexplained(known, [replace(kill, server=stage.servers.name(1))]) == known
            assert unexplained(failures, [replace(kill, since=time.monotonic())]) == list(failures)
        if failures:
            return
    pytest.fail("a killed server has broken nothing off")


@debian.IPROUTE2
def test_a_killed_worker_explains_its_sessions_failures_and_no_others(tmp_path: Path) -> None:
    with a_stage(tmp_path, FEW) as stage:
        busiest = max(stage.proxy.workers(), key=lambda worker: worker.num_fds())
        kill = kill_worker(busiest, stage.proxy.address[1])
        stage.load.wait_for_progress()
        failures = stage.load.finish().failures
        assert failures
        assert unexplained(failures, [kill]) == []
        assert kill.ports >= {failure.port for failure in failures}
        assert unexplained(failures, [replace(kill, ports=frozenset())]) == list(failures)
