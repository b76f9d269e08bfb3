"""No server is left: clients are told so, and the first that returns serves the next one who comes."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import NamedTuple

import psutil
import pytest

from tests.netns.rig import LISTEN, NAMES, A, B, C, Cluster, wait_for_state, wait_until_up
from tests.support.eventually import eventually
from tests.support.identity import ask
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]

ALL = (A, B, C)
_MORE = 8 << 20
"""Bytes by which a process may grow nevertheless: the interpreter's own, which do not grow on."""


class Holdings(NamedTuple):
    """What a process has."""

    fds: int
    threads: int
    rss: int

    @classmethod
    def of(cls, process: psutil.Process) -> Holdings:
        return cls(process.num_fds(), process.num_threads(), process.memory_info().rss)

    def within(self, before: Holdings) -> bool:
        return self.fds <= before.fds and self.threads <= before.threads and self.rss <= before.rss + _MORE


def is_told_so(cluster: Cluster) -> None:
    """A client gets an error, and does not wait for it."""
    with pytest.raises(ConnectionError):
        cluster.visit()


def test_all_are_killed_and_one_returns(cluster: Cluster, proxy: Proxy) -> None:
    cluster.kill(*ALL)
    is_told_so(cluster)
    for server in ALL:
        wait_for_state(proxy, server, "down")
    is_told_so(cluster)
    cluster.start(C)
    assert [cluster.visit() for _ in range(3)] == ["c", "c", "c"]
    wait_for_state(proxy, C, "up")
    cluster.start(A, B)
    wait_until_up(proxy)


def test_all_vanish_and_return(cluster: Cluster, proxy: Proxy) -> None:
    with cluster.network.powered_off(*ALL):
        is_told_so(cluster)
        for server in ALL:
            wait_for_state(proxy, server, "down")
        is_told_so(cluster)
    assert cluster.visit() in NAMES
    wait_until_up(proxy)


def test_all_refuse_under_constant_redials(cluster: Cluster, proxy: Proxy) -> None:
    """For as long as that may take: nothing that a process has grows with the number of dials."""
    cluster.kill(*ALL)
    for server in ALL:
        wait_for_state(proxy, server, "down")
    redial(cluster, 200)
    before = {child: Holdings.of(child) for child in proxy.children()}
    redial(cluster, 800)
    eventually(
        lambda: all(Holdings.of(child).within(holdings) for child, holdings in before.items()),
        f"as little as before, {before}",
    )
    assert proxy.status().clients.accepted >= 1000
    cluster.start(*ALL)
    assert cluster.visit() in NAMES
    wait_until_up(proxy)


def redial(cluster: Cluster, times: int, clients: int = 4) -> None:
    """Several clients connect anew whenever they are refused, so often in all."""

    def dial() -> None:
        for _ in range(times // clients):
            # Refused that soon that it may be while connecting.
            with suppress(ConnectionResetError):
                assert ask((LISTEN.host, LISTEN.port)) == ""

    with cluster.network.node.entered():
        threads = [threading.Thread(target=dial, name=f"redial-{number}") for number in range(clients)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
