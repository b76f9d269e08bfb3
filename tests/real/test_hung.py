"""A child that does nothing any more is replaced, and an operator gets the proxy stopped whoever hangs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kubelb.deadlines import Deadlines
from kubelb.stats import Count
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave
from tests.support.lanes import a_lane, a_snapshot
from tests.support.log import DEADLINE
from tests.support.program import impatient
from tests.support.proxy import KUBELB, EchoServers, Proxy, a_config, echoes, gone, reserved

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with EchoServers() as servers, reserved() as listen:
        config = a_config(listen, servers.addresses)
        with impatient(tmp_path, config, Deadlines(control_hangs=3.0, worker_hangs=3.0)) as proxy:
            yield proxy


def stands_still(process: psutil.Process) -> None:
    process.suspend()
    eventually(lambda: process.status() == psutil.STATUS_STOPPED, "it stands still")


def test_a_control_that_hangs_is_replaced(proxy: Proxy) -> None:
    control, workers = proxy.control(), proxy.workers()
    client, _ = keep(proxy.address)
    stands_still(control)
    (told,) = proxy.log.wait_for("child_hung")
    assert (told["child"], told["pid"], told["effect"]) == ("control", control.pid, "it is replaced")
    eventually(lambda: proxy.status().clients.active == 1, "another answers")
    assert proxy.workers() == workers
    assert echoes(client)
    leave(client)


def test_a_worker_that_hangs_is_replaced(proxy: Proxy) -> None:
    victim, other = proxy.workers()
    stands_still(victim)
    (told,) = proxy.log.wait_for("child_hung")
    assert told["pid"] == victim.pid
    assert "sessions are lost" in str(told["effect"])
    eventually(lambda: gone(victim) and len(proxy.workers()) == 2, "there is another")
    assert other in proxy.workers()
    assert ask(proxy.address)
    assert len(proxy.log.events("child_hung")) == 1


def test_a_thread_that_has_nothing_to_do_says_so_now_and_then(tmp_path: Path) -> None:
    with a_lane(a_snapshot([("127.0.0.1", 1)])) as lane:
        for _ in range(2):
            before = lane.total(Count.BEAT)
            eventually(lambda before=before: lane.total(Count.BEAT) > before, "another beat")  # type: ignore[misc]


@pytest.mark.parametrize("arguments", [(), ("--graceful",)])
def test_a_stop_needs_no_control_that_answers(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with EchoServers() as servers, reserved() as listen:
        config = a_config(listen, servers.addresses)
        with impatient(tmp_path, config, Deadlines(control_hangs=3600.0, stop=0.1)) as proxy:
            stands_still(proxy.control())
            command = [str(KUBELB), "stop", *arguments, "--runtime-dir", str(proxy.runtime_dir)]
            said = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
            assert said.returncode == 0, said.stderr
            assert f"process {proxy.pid} gets a signal instead" in said.stderr
            assert proxy.wait() == 0
