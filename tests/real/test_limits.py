"""File descriptors: as many as there may be, too few to start, and none left while running."""

from __future__ import annotations

import os
import re
import resource
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import psutil
import pytest

from kubelb.config.model.pools import Server
from kubelb.config.values import Address
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of, refusing, reset
from tests.support.log import DEADLINE
from tests.support.proxy import a_proxy, echoes
from tests.support.users import open_to_all

pytestmark = pytest.mark.usefixtures("no_leaks")


def open_files(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limit(process: psutil.Process) -> tuple[int, int]:
    """Soft and hard."""
    text = Path("/proc", str(process.pid), "limits").read_text()
    match = re.search(r"^Max open files +(\d+) +(\d+)", text, re.MULTILINE)
    assert match
    return int(match[1]), int(match[2])


def test_all_that_may_be_open_is_taken(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses, prepare=open_files(256, 1024)) as proxy:
        assert {limit(child) for child in proxy.children()} == {(1024, 1024)}


def test_a_smaller_number_can_be_configured(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses, prepare=open_files(256, 1024), max_open_files=300) as proxy:
        assert {limit(child)[0] for child in proxy.children()} == {300}


def test_a_larger_number_is_had_where_privileges_allow_it(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses, prepare=open_files(256, 1024), max_open_files=2048) as proxy:
        (got,) = {limit(child)[0] for child in proxy.children()}
        lowered = proxy.log.events("max_open_files_lowered", wanted=2048, allowed=1024)
        assert (got, len(lowered)) in ((2048, 0), (1024, 1))


def test_no_machine_has_so_many(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses, prepare=open_files(256, 1024), max_open_files=10**18) as proxy:
        assert {limit(child) for child in proxy.children()} == {(1024, 1024)}
        assert len(proxy.log.events("max_open_files_lowered", wanted=10**18, allowed=1024)) == 1


def as_nobody_with(soft: int, hard: int) -> Callable[[], None]:
    def prepare() -> None:
        open_files(soft, hard)()
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    return prepare


@pytest.mark.usefixtures("root")
def test_without_privileges_it_makes_do_with_the_hard_limit(tmp_path: Path, servers: IdentityServers) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    open_to_all(tmp_path)
    with a_proxy(tmp_path, servers.addresses, prepare=as_nobody_with(256, 1024), max_open_files=2048) as proxy:
        assert {limit(child) for child in proxy.children()} == {(1024, 1024)}
        assert len(proxy.log.events("max_open_files_lowered", wanted=2048, allowed=1024)) == 1


def served(clients: Sequence[socket.socket]) -> list[socket.socket]:
    """Those a server has greeted, by now."""
    return select.select(clients, [], [], 0)[0]


def greeting(client: socket.socket) -> str:
    return client.recv(256).decode().rstrip("\n")


def waits(worker: psutil.Process) -> int:
    """How often it has gone to sleep."""
    return worker.num_ctx_switches().voluntary


def used(worker: psutil.Process) -> float:
    """CPU seconds."""
    times = worker.cpu_times()
    return times.user + times.system


@pytest.mark.parametrize("odd", [False, True])
def test_without_descriptors_it_waits_and_goes_on(tmp_path: Path, servers: IdentityServers, odd: bool) -> None:
    """``odd``: one descriptor more, so that the last client is accepted and its server cannot be dialled."""
    allowed = 128 + odd
    with (
        a_proxy(tmp_path, servers.addresses, workers=1, max_open_files=allowed, connect_timeout=DEADLINE) as proxy,
        ExitStack() as held,
    ):
        (worker,) = proxy.workers()
        first, _ = keep(proxy.address)
        held.enter_context(first)
        clients = [held.enter_context(socket.create_connection(proxy.address, timeout=DEADLINE)) for _ in range(80)]
        proxy.log.wait_for("accepting_paused")
        waited, worked = waits(worker), used(worker)
        eventually(lambda: waits(worker) >= waited + 8, "it sleeps between two looks")
        assert used(worker) - worked < 0.5
        lucky = served(clients)
        assert 40 < len(lucky) < 80
        leave(first)
        eventually(lambda: len(served(clients)) > len(lucky), "the place is taken")
        assert not proxy.log.events("accepting_resumed")
        for client in (*lucky, *(client for client in clients if client not in lucky)):
            assert greeting(client) == name_of(servers.addresses[0])
            assert echoes(client)
            leave(client)
        assert ask(proxy.address) == name_of(servers.addresses[0])
        assert len(proxy.log.events("accepting_paused")) == len(proxy.log.events("accepting_resumed")) == 1
        eventually(lambda: proxy.servers()[0].active == 0, "all have left")
        assert proxy.servers()[0].dial_failures == 0


def holdings(workers: Sequence[psutil.Process]) -> list[tuple[int, int]]:
    """Descriptors and threads of each."""
    return [(worker.num_fds(), worker.num_threads()) for worker in workers]


@pytest.mark.parametrize("threads", ["auto", "per-connection"])
def test_nothing_is_left_of_past_sessions(
    tmp_path: Path, servers: IdentityServers, threads: Literal["auto", "per-connection"]
) -> None:
    with refusing(["127.0.0.1"]) as (refuser,):
        members = [Server(address=Address(*refuser), max_fails=0), Server(address=Address(*servers.addresses[0]))]
        with a_proxy(tmp_path, members, "round_robin", threads=threads) as proxy:
            workers = proxy.workers()
            before = holdings(workers)
            for number in range(100):
                client, name = keep(proxy.address)
                assert name == name_of(servers.addresses[0])
                if number % 2:
                    reset(client)
                else:
                    leave(client)
            assert proxy.servers()[0].dial_failures > 10
            eventually(lambda: proxy.status().clients.active == 0, "all have left")
            eventually(lambda: holdings(workers) == before, "all is given back")
