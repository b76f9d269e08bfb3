"""Sessions that would live on are not cut: what looks like death to whoever is in a hurry, and is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubelb.config.model.pools import PASSIVE, Health
from kubelb.config.values import Duration
from kubelb.snapshot import Finding
from tests.netns.rig import NAMES, A, B, C, Cluster, Session, Visitors, of, proxied, wait_for_state, wait_until_up
from tests.support.eventually import eventually
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]

ALL = (A, B, C)


def impatient(cluster: Cluster, **settings: object) -> Health:
    """Looks so often that what takes seconds by default takes tenths here."""
    quick = {"interval": Duration(0.2), "timeout": Duration(0.3), "hang_timeout": Duration(0.5)}
    return Health(ca_file=str(cluster.authority), **{**quick, **settings})  # type: ignore[arg-type]


@contextmanager
def watched(cluster: Cluster, directory: Path, **settings: object) -> Iterator[tuple[Proxy, list[Session]]]:
    """A proxy that has found all servers up, and sessions on all of them."""
    with ExitStack() as stack:
        proxy = stack.enter_context(proxied(cluster, directory, **{"health": impatient(cluster), **settings}))
        if settings.get("health") is not PASSIVE:
            wait_until_up(proxy)
        yield proxy, stack.enter_context(cluster.sessions())


def found(proxy: Proxy, server: int, *findings: Finding) -> float:
    """Once it is found so; the moment."""
    eventually(lambda: proxy.servers()[server].finding in findings, f"{NAMES[server]} is found {findings}")
    return time.monotonic()


def test_the_network_is_away_and_returns(cluster: Cluster, tmp_path: Path) -> None:
    """All vanish and return together. TCP delivers then what it has kept."""
    with watched(cluster, tmp_path) as (proxy, sessions):
        with cluster.network.powered_off(*ALL):
            for session in sessions[::2]:
                session.send()
            for server in ALL:
                found(proxy, server, "gone", "closed")
        wait_until_up(proxy)
        for session in sessions[::2]:
            session.answered()
        assert all(session.carries() for session in sessions)
        assert cluster.visit() in NAMES


def test_all_hang_and_go_on(cluster: Cluster, tmp_path: Path) -> None:
    """Their kernels acknowledge and accept; it is said once that the pool is slow."""
    with watched(cluster, tmp_path) as (proxy, sessions):
        with ExitStack() as hung:
            for server in ALL:
                hung.enter_context(cluster.hung(server))
            for server in ALL:
                found(proxy, server, "silent")
            # Far longer than a single one of them would be left.
            proxy.log.wait_for("pool_slow")
            since = proxy.servers()[A].probe
            eventually(lambda: proxy.servers()[A].probe != since, "it has been looked at once more")
            assert [server.state for server in proxy.servers()].count("down") <= 1
        wait_until_up(proxy)
        assert all(session.carries() for session in sessions)
        assert len(proxy.log.events("pool_slow")) == 1


def test_none_is_ready_and_they_return_one_by_one(cluster: Cluster, tmp_path: Path) -> None:
    """As while etcd is away for longer than a server that drains is left its sessions."""
    with watched(cluster, tmp_path, drain_timeout=Duration(1)) as (proxy, sessions):
        for server in ALL:
            cluster.standins[server].set_ready(False)
        for server in ALL:
            wait_for_state(proxy, server, "draining")
        since = max(server.since for server in proxy.servers())
        eventually(lambda: time.time() > since + 1.5, "what was left to them is over")
        for server in ALL:
            cluster.standins[server].set_ready(True)
            wait_for_state(proxy, server, "up")
        assert all(session.carries() for session in sessions)


def test_a_server_that_hangs_is_cut_once_it_was_silent_for_long(cluster: Cluster, tmp_path: Path) -> None:
    """The others answer, so there is somewhere to go; their sessions are left alone."""
    with watched(cluster, tmp_path) as (proxy, sessions):
        with cluster.hung(B):
            assert all(session.is_reset() for session in of(sessions, B))
            assert proxy.servers()[B].finding == "silent"
        others = [session for session in sessions if session.server != NAMES[B]]
        assert all(session.carries() for session in others)


def test_a_vanished_server_is_found_without_probes(cluster: Cluster, tmp_path: Path) -> None:
    """By the bytes of its sessions and a connect; a connect finds it again."""
    with watched(cluster, tmp_path, health=PASSIVE, keepalive=Duration(1)) as (proxy, sessions):
        assert {server.probe for server in proxy.servers()} == {None}, "nothing is asked while all is well"
        with cluster.network.powered_off(B):
            idle, *busy = of(sessions, B)
            for session in busy:
                session.send()
            assert all(session.is_reset() for session in (idle, *busy))
            wait_for_state(proxy, B, "down")
            assert proxy.servers()[B].finding == "gone"
            proxy.control().kill()
            proxy.log.wait_for("child_died")
            eventually(proxy.answer, "another control answers")
            assert (proxy.servers()[B].state, proxy.servers()[B].finding) == ("down", "gone")
        wait_for_state(proxy, B, "up")
        assert [event["reason"] for event in proxy.log.events("server_down")] != []
        others = [session for session in sessions if session.server != NAMES[B]]
        assert all(session.carries() for session in others)
        with Visitors(cluster) as visitors:
            visitors.wait_for_server("b", time.monotonic())
