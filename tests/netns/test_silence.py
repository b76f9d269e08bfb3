"""Idle is not dead: without probes a server that has nothing to say is told from one that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelb.config.model.pools import PASSIVE
from kubelb.config.values import Duration
from tests.netns.rig import NAMES, B, Cluster, but, of, proxied

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]


def test_a_vanished_server_is_noticed_and_a_silent_one_is_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    """Who is left has been silent for as long as it took to give up the other, idle sessions and busy ones."""
    patience = {"keepalive": Duration(1), "user_timeout": Duration(2)}
    with (
        proxied(cluster, tmp_path, health=PASSIVE, **patience) as proxy,
        cluster.sessions() as sessions,
        cluster.network.powered_off(B),
    ):
        idle, *busy = of(sessions, B)
        for session in busy:
            session.send()
        assert busy
        assert all(session.is_reset() for session in (idle, *busy))
        assert all(session.carries() for session in but(sessions, B))
        assert all(cluster.visit() in "ac" for _ in NAMES)
        assert [server.state == "down" for server in proxy.servers()] == [False, True, False]
