"""Upgrades under a load of every kind: nothing is lost, every digest is right, and the old processes go."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.real.relay.confined import refuse_splice
from tests.support import debian
from tests.support.eventually import eventually
from tests.support.load.faults import unexplained
from tests.support.load.records import BOTH, Plan
from tests.support.load.stage import Stage, a_stage, kill_worker
from tests.support.proxy import gone, sessions_by_thread, suspended

pytestmark = pytest.mark.usefixtures("no_leaks")

UPGRADES = 3
FEW = Plan(new=1, regular=4, bulk=(BOTH,), idle=200)


def upgrade(stage: Stage) -> None:
    """Until the old processes have gone, and the load has been served by the new ones."""
    old = [psutil.Process(stage.proxy.pid), *stage.proxy.children()]
    old[0].send_signal(signal.SIGUSR2)
    eventually(lambda: all(map(gone, old)), "the old processes have gone")
    assert not {process.pid for process in old} & {stage.proxy.pid, *(child.pid for child in stage.proxy.children())}
    stage.load.wait_for_progress()


def assert_nothing_was_felt(stage: Stage) -> None:
    result = stage.load.finish()
    assert result.failures == ()
    assert result.idle == stage.load.plan.idle
    assert min(result.connections, result.requests, result.transfers) > 0


@pytest.mark.parametrize(
    ("settings", "prepare", "idle"),
    [
        pytest.param({"workers": 2}, None, 1000, id="splice"),
        pytest.param({"workers": 2}, refuse_splice, 1000, id="copies"),
        pytest.param({"workers": 1}, None, 1000, id="one-worker"),
        pytest.param({"workers": 2, "threads": 2}, None, 1000, id="two-threads"),
        pytest.param({"workers": 2, "threads": "per-connection"}, None, 200, id="per-connection"),
        pytest.param({"workers": 1, "threads": "per-connection"}, refuse_splice, 200, id="per-connection-copies"),
    ],
)
def test_several_in_a_row(
    tmp_path: Path, settings: dict[str, Any], prepare: Callable[[], None] | None, idle: int
) -> None:
    with a_stage(tmp_path, Plan(idle=idle), prepare=prepare, **settings) as stage:
        for _ in range(UPGRADES):
            upgrade(stage)
        assert_nothing_was_felt(stage)
        assert bool(stage.proxy.log.events("splice_refused")) == (prepare is not None)
        assert len(stage.proxy.workers()) == settings["workers"]


def test_the_new_one_goes_by_the_file(tmp_path: Path) -> None:
    with a_stage(tmp_path, Plan(idle=200)) as stage:
        for workers, members in [(1, (0, 1)), (3, (1, 2)), (2, (0, 1, 2))]:
            stage.write(members, workers=workers)
            upgrade(stage)
            assert len(stage.proxy.workers()) == workers
        assert_nothing_was_felt(stage)


def test_the_counters_go_on(tmp_path: Path) -> None:
    with a_stage(tmp_path, Plan(idle=200)) as stage:
        before = stage.proxy.status().clients
        upgrade(stage)
        assert stage.proxy.status().clients.accepted > before.accepted
        stage.load.rest()
        eventually(lambda: stage.proxy.status().clients.active == stage.load.plan.idle, "only the idle are left")
        eventually(lambda: sum(server.active for server in stage.proxy.servers()) == 200, "and counted with a server")
        assert_nothing_was_felt(stage)


def test_the_sessions_are_spread_over_the_new_workers(tmp_path: Path) -> None:
    """Whoever is faster takes more; each was sent as many as may be under way at first."""
    with a_stage(tmp_path, FEW) as stage:
        upgrade(stage)
        stage.load.rest()
        eventually(lambda: stage.proxy.status().clients.active == FEW.idle, "only the idle are left")
        assert min(sum(sessions_by_thread(worker)) for worker in stage.proxy.workers()) >= 16
        assert_nothing_was_felt(stage)


def children_of(process: psutil.Process) -> set[int]:
    """Looked up so fast that one that has just begun has done nothing yet."""
    return set(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


@debian.IPROUTE2
def test_a_worker_that_begins_in_the_middle(tmp_path: Path) -> None:
    """In the place of one that died, and of the old supervisor, which has given way when it is ready."""
    with a_stage(tmp_path, FEW) as stage:
        old = stage.proxy.supervisor
        before = children_of(old)
        kill = kill_worker(stage.proxy.workers()[0], stage.proxy.address[1])
        newcomers = eventually(lambda: children_of(old) - before, "another")
        with suspended([psutil.Process(pid) for pid in newcomers]):
            old.send_signal(signal.SIGUSR2)
            eventually(lambda: stage.proxy.supervisor != old, "the new supervisor serves")
        eventually(lambda: gone(old), "the old one has gone")
        assert stage.proxy.supervisor != old
        assert len(stage.proxy.status().pools) == 1
        assert unexplained(stage.load.finish().failures, [kill]) == []


@debian.IPROUTE2
def test_a_new_worker_that_dies_before_it_has_all_sessions(tmp_path: Path) -> None:
    """Others take them."""
    with a_stage(tmp_path, FEW) as stage:
        old, givers = stage.proxy.supervisor, stage.proxy.workers()
        with suspended(givers):
            old.send_signal(signal.SIGUSR2)
            stage.proxy.log.wait_for("started", 2)
            victim = stage.proxy.workers()[0]
            kill = kill_worker(victim, stage.proxy.address[1])
            stage.proxy.log.wait_for("child_died", pid=victim.pid)
        eventually(lambda: gone(old), "the old supervisor has gone")
        assert unexplained(stage.load.finish().failures, [kill]) == []
