"""Reloads under a load of every kind: no client feels them, and nothing is left over."""

from __future__ import annotations

import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from kubelb.cli import adminclient
from kubelb.config.values import Duration
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.load.records import Plan
from tests.support.load.stage import Stage, a_stage

pytestmark = pytest.mark.usefixtures("no_leaks")

MEMBERS = [(0, 1), (1, 2), (0, 2), (2,), (0, 1, 2)]
"""Of the pool, one reload after the other: so that each server leaves and returns."""


def reload(stage: Stage) -> None:
    assert adminclient.reload(stage.proxy.runtime_dir) == ()


def assert_nothing_was_felt(stage: Stage) -> None:
    result = stage.load.finish()
    assert result.failures == ()
    assert result.idle == stage.load.plan.idle
    assert min(result.connections, result.requests, result.transfers) > 0


@pytest.mark.parametrize("threads", ["auto", "per-connection"])
def test_members_and_timeouts_change(tmp_path: Path, threads: str) -> None:
    plan = Plan(idle=1000 if threads == "auto" else 200)
    with a_stage(tmp_path, plan, threads=threads) as stage:
        processes = stage.proxy.children()
        for count, members in enumerate(MEMBERS * 3):
            stage.write(members, connect_timeout=1 + count % 3, user_timeout=Duration(10 + count % 2))
            reload(stage)
            stage.load.wait_for_progress()
        assert_nothing_was_felt(stage)
        assert stage.proxy.children() == processes


def test_workers_and_addresses_change(tmp_path: Path) -> None:
    with a_stage(tmp_path, Plan()) as stage:
        for workers, spare in [(3, True), (1, True), (2, False), (1, False), (4, True), (2, False)]:
            stage.write(workers=workers, spare=spare)
            reload(stage)
            stage.load.wait_for_progress()
            are_there = partial(has_children, stage, workers + 1)
            eventually(are_there, "control and so many workers, and no more")
            assert answers(stage.spare) is spare
        assert_nothing_was_felt(stage)


def has_children(stage: Stage, count: int) -> bool:
    return len(stage.proxy.children()) == count


def answers(address: SocketAddress) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_storm_of_signals(tmp_path: Path) -> None:
    with a_stage(tmp_path, Plan(idle=200)) as stage:
        processes = stage.proxy.children()
        for count in range(100):
            stage.write(MEMBERS[count % len(MEMBERS)])
            stage.proxy.process.send_signal(signal.SIGHUP)
        stage.load.wait_for_progress()
        stage.write()
        reload(stage)
        assert_nothing_was_felt(stage)
        assert len(stage.proxy.servers()) == 3
        assert stage.proxy.children() == processes
