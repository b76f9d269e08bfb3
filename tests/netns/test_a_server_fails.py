"""What becomes of clients when a server fails in one of the ways servers do, and what control makes of it.

The rule for all of them: no new client fails that some server could have served. Clients come by all the time.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kubelb.config.model.pools import Health
from kubelb.config.values import Duration
from tests.netns.rig import (
    NAMES,
    A,
    B,
    C,
    Cluster,
    Visitors,
    but,
    of,
    proxied,
    wait_for_probe,
    wait_for_state,
    wait_until_up,
)
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]

MANY = 20
"""Visits, enough that each of three servers would get some."""


def is_avoided(proxy: Proxy, visitors: Visitors, server: int) -> None:
    """It is found down, and no new client goes there."""
    down = wait_for_state(proxy, server, "down")
    assert NAMES[server] not in visitors.wait_for(MANY, down)


def is_back(proxy: Proxy, visitors: Visitors, server: int, since: float) -> None:
    """It is up and gets new clients, and none has failed since that moment."""
    back = wait_for_state(proxy, server, "up")
    visitors.wait_for_server(NAMES[server], back)
    assert visitors.failures(since) == []


def test_its_process_is_killed(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    with cluster.sessions() as sessions:
        dead = cluster.kill(B)
        for session in of(sessions, B):
            session.wait_for_end()
        is_avoided(proxy, visitors, B)
        cluster.start(B)
        is_back(proxy, visitors, B, dead)
        assert all(session.carries() for session in but(sessions, B))


def test_it_loses_its_power(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    """Its sessions, idle and busy, are reset and not held until TCP gives them up."""
    with cluster.sessions() as sessions:
        with cluster.network.powered_off(B):
            dead = cluster.kill(B)
            idle, *busy = of(sessions, B)
            for session in busy:
                session.send()
            assert busy
            assert all(session.is_reset() for session in (idle, *busy))
            is_avoided(proxy, visitors, B)
        cluster.start(B)
        is_back(proxy, visitors, B, dead)
        assert all(session.carries() for session in but(sessions, B))


def test_its_answers_are_lost(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    with cluster.sessions() as sessions:
        with cluster.network.one_way_loss(B):
            lost = time.monotonic()
            assert all(session.is_reset() for session in of(sessions, B))
            is_avoided(proxy, visitors, B)
        is_back(proxy, visitors, B, lost)
        assert all(session.carries() for session in but(sessions, B))


def test_it_is_slow(cluster: Cluster, tmp_path: Path) -> None:
    """Who is new does not wait for it; who is there already stays, for it answers its probes in time."""
    health = Health(ca_file=str(cluster.authority), timeout=Duration(5))
    with proxied(cluster, tmp_path, health=health) as proxy:
        wait_until_up(proxy)
        with Visitors(cluster) as visitors:
            with cluster.sessions() as sessions, cluster.network.slow(B, 0.3):
                slow = time.monotonic()
                visitors.wait_for(3 * MANY, slow)
                assert all(session.carries() for session in sessions)
            is_back(proxy, visitors, B, slow)
            assert not proxy.log.events("server_down")


def test_it_accepts_and_never_answers(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    """Connects succeed, so only a probe can tell; who got there before is reset then."""
    began = time.monotonic()
    with cluster.sessions() as sessions:
        with cluster.hung(B):
            assert all(session.is_reset() for session in of(sessions, B))
            wait_for_state(proxy, B, "down")
            settled = visitors.settled()
            is_avoided(proxy, visitors, B)
        is_back(proxy, visitors, B, settled)
        assert not visitors.held(began)
        assert all(session.carries() for session in but(sessions, B))


def test_it_answers_with_garbage(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    with cluster.garbage(B):
        wait_for_state(proxy, B, "down")
        settled = visitors.settled()
        is_avoided(proxy, visitors, B)
    cluster.start(B)
    is_back(proxy, visitors, B, settled)


def test_it_has_only_ever_answered_with_garbage(cluster: Cluster, tmp_path: Path) -> None:
    """It never passed, so it is not called down, but it is the last to be picked."""
    with cluster.garbage(B), proxied(cluster, tmp_path) as proxy, Visitors(cluster) as visitors:
        wait_for_state(proxy, A, "up")
        wait_for_state(proxy, B, "suspect")
        wait_for_state(proxy, C, "up")
        assert "b" not in visitors.wait_for(MANY, visitors.settled())
        assert not proxy.log.events("server_down")


def test_it_says_that_it_is_not_ready(cluster: Cluster, proxy: Proxy, visitors: Visitors) -> None:
    """As an apiserver that shuts down gracefully: nobody new comes, and it finishes what it has."""
    began = time.monotonic()
    with cluster.sessions() as sessions:
        cluster.standins[B].set_ready(False)
        wait_for_state(proxy, B, "draining")
        assert "b" not in visitors.wait_for(MANY, visitors.settled())
        assert all(session.carries() for session in sessions)
        cluster.standins[B].set_ready(True)
        wait_for_state(proxy, B, "up")
        assert all(session.carries() for session in sessions)
    is_back(proxy, visitors, B, began)


def test_it_fails_again_and_again(cluster: Cluster, tmp_path: Path) -> None:
    """Each time it has to prove itself for longer, so its state does not follow every turn; nobody feels any."""
    health = Health(ca_file=str(cluster.authority), interval=Duration(0.1), timeout=Duration(0.5))
    flaps = 5
    with proxied(cluster, tmp_path, health=health) as proxy:
        wait_until_up(proxy)
        with Visitors(cluster) as visitors:
            for _ in range(flaps):
                dead = cluster.kill(B)
                wait_for_state(proxy, B, "down")
                visitors.wait_for(MANY // 2, dead)
                cluster.start(B)
                wait_for_probe(proxy, B)
            is_back(proxy, visitors, B, dead)
        ups = proxy.log.events("server_up", server=f"{cluster.network.hosts[B]}:6443")
        assert len(ups) < 1 + flaps
