"""One of the proxy's own processes dies: control's death is not felt, a worker's only by the sessions it held."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.control.commands import Drain, Undrain
from tests.netns.rig import PORT, A, B, Cluster, Session, Visitors, wait_for_probe, wait_for_state, wait_until_up
from tests.support.eventually import eventually
from tests.support.proxy import Proxy, gone

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]

MANY = 20


def test_control_is_killed(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    """What it knew is known to the next one: who is down, and who the operator wants empty."""
    began = cluster.kill(A)
    wait_for_state(proxy, A, "down")
    _, _, third = proxy.servers()
    adminclient.command(proxy.runtime_dir, Drain(server=third.name))
    settled = visitors.settled()
    with cluster.sessions(4) as sessions:
        kill(proxy.control())
        assert set(visitors.wait_for(MANY, settled)) == {"b"}
        eventually(lambda: answers(proxy), "there is another control")
        wait_for_probe(proxy, B)
        a, b, c = proxy.servers()
        assert (a.state, b.state, c.state, c.drained) == ("down", "up", "draining", True)
        assert set(visitors.wait_for(MANY, visitors.settled())) == {"b"}
        assert all(session.carries() for session in sessions)
    adminclient.command(proxy.runtime_dir, Undrain(server=third.name))
    cluster.start(A)
    wait_until_up(proxy)
    for server in "ac":
        visitors.wait_for_server(server, settled)
    assert visitors.failures(began) == []


def kill(process: psutil.Process) -> float:
    """As ``kill -9``; the moment since when it is dead."""
    process.kill()
    eventually(lambda: gone(process), "it is dead")
    return time.monotonic()


def answers(proxy: Proxy) -> bool:
    try:
        return bool(proxy.status())
    except adminclient.AdminFault:
        return False


def test_a_worker_is_killed(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    with cluster.sessions(24) as sessions:
        held = {worker: held_by(worker, sessions) for worker in proxy.workers()}
        assert all(held.values())
        victim, other = held
        dead = kill(victim)
        for session in held[victim]:
            session.wait_for_end()
        assert all(session.carries() for session in held[other])
        eventually(lambda: len(proxy.workers()) == 2, "there are two workers again")
        visitors.wait_for(MANY, dead)
    assert {server.state for server in proxy.servers()} == {"up"}


def held_by(worker: psutil.Process, sessions: Sequence[Session]) -> list[Session]:
    ports = {
        connection.raddr.port
        for connection in worker.net_connections("tcp")
        if connection.raddr and connection.laddr.port == PORT
    }
    return [session for session in sessions if session.port in ports]
