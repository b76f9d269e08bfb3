"""Deaths in the family: workers, control, and the supervisor itself are killed under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.log import Record
from tests.support.proxy import (
    EchoServers,
    Proxy,
    a_config,
    a_proxy,
    gone,
    lives,
    reserved,
    running,
    sessions_by_thread,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def servers() -> Iterator[IdentityServers]:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as echo_servers:
        yield echo_servers


def test_a_killed_worker_takes_only_its_own_sessions(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, ExitStack() as held:
        victim, other = proxy.workers()
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(10)]
        while not (lost := sum(sessions_by_thread(victim))) or not any(sessions_by_thread(other)):
            clients += [held.enter_context(keep(proxy.address)[0]) for _ in range(2)]
        victim.kill()
        (died,) = proxy.log.wait_for("child_died")
        assert (died["pid"], died["how"], died["level"]) == (victim.pid, "SIGKILL (out of memory?)", "error")
        alive = [client for client in clients if lives(client)]
        assert len(alive) == len(clients) - lost == sum(sessions_by_thread(other))
        eventually(lambda: len(proxy.workers()) == 2, "it is replaced")
        assert other in proxy.workers()
        assert proxy.status().clients.active == len(alive)
        assert sum(server.active for server in proxy.servers()) == len(alive)
        more = [held.enter_context(keep(proxy.address)[0]) for _ in range(lost)]
        assert [server.active for server in proxy.servers()] == [len(clients) / 2] * 2
        newcomer = next(worker for worker in proxy.workers() if worker != other)
        eventually(lambda: _has_some(proxy, newcomer, held), "the newcomer serves")
        for client in (*alive, *more):
            leave(client)
        assert len(proxy.log.events("child_died")) == 1


def _has_some(proxy: Proxy, worker: psutil.Process, held: ExitStack) -> bool:
    """Whether a worker has sessions, after one more."""
    held.enter_context(keep(proxy.address)[0])
    return sum(sessions_by_thread(worker)) > 0


def test_a_killed_control_does_not_touch_traffic(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(4)]
        workers = proxy.workers()
        victim = proxy.control()
        victim.kill()
        (died,) = proxy.log.wait_for("child_died")
        assert (died["child"], died["pid"]) == ("control", victim.pid)
        assert ask(proxy.address)
        assert all(map(lives, clients))
        assert proxy.status().clients.active == 4
        assert proxy.control() != victim
        assert proxy.workers() == workers
        for client in clients:
            leave(client)


def _when(record: Record) -> float:
    return datetime.fromisoformat(record["timestamp"].replace("Z", "+00:00")).timestamp()


def test_one_that_keeps_dying_is_restarted_with_pauses(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses, workers=1) as proxy:
        for count in range(1, 5):
            (worker,) = eventually(proxy.workers, "a worker is there")
            worker.kill()
            died = proxy.log.wait_for("child_died", count)[-1]
            assert died["child"] == "worker-0"
        eventually(proxy.workers, "a worker is there")
        assert ask(proxy.address)
        deaths = [_when(record) for record in proxy.log.events("child_died")]
        pauses = [later - earlier for earlier, later in pairwise(deaths)]
        assert [pause >= least for pause, least in zip(pauses, (0, 0.25, 0.5), strict=True)] == [True] * 3


def test_sessions_outlive_a_killed_supervisor(tmp_path: Path, servers: IdentityServers) -> None:
    with reserved() as listen, ExitStack() as held:
        config = a_config(listen, servers.addresses)
        first = held.enter_context(running(tmp_path, config=config))
        clients = [held.enter_context(keep(listen)[0]) for _ in range(6)]
        control, workers = first.control(), first.workers()
        first.process.kill()
        assert first.process.wait() == -9
        first.log.wait_for("supervisor_gone", 2)
        eventually(lambda: first.answer() is None, "control answers nobody any more")
        second = held.enter_context(running(tmp_path, config=config))
        assert ask(listen) in map(name_of, servers.addresses)
        assert all(map(lives, clients))
        assert second.status().clients.active == 0
        for client in clients:
            leave(client)
        eventually(lambda: all(map(gone, workers)), "they end with their last sessions")
        eventually(lambda: gone(control), "it was there to write their log, and goes too")
        assert ask(listen)
