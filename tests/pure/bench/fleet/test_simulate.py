from __future__ import annotations

import msgspec
import pytest

from bench.fleet.policies.catalogue import PEERS, Peer
from bench.fleet.scenarios import SCENARIOS, Scenario
from bench.fleet.session import Stage
from bench.fleet.settings import PING_AFTER, ROLES, SERVERS, Fleet
from bench.fleet.simulate import measured, simulated

FLEET = Fleet(nodes=60, cores=1, seed=5)
PEER = {peer.name: peer for peer in PEERS}
SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}
each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
CONNECTED = (Stage.GREETING, Stage.OPENING, Stage.SERVED, Stage.STRANDED)


@each_peer
@each_scenario
def test_every_session_is_in_one_place(peer: Peer, scenario: Scenario) -> None:
    world, _ = simulated(FLEET, peer.policy, scenario)
    sessions = [session for node in world.nodes for session in node.sessions]
    assert len(sessions) == FLEET.nodes * len(ROLES)
    for session in sessions:
        assert (session.server is not None) == (session.stage in CONNECTED)
    for server in world.servers:
        here = {session for session in sessions if session.server is server}
        assert set(server.sessions) == here
        assert sum(node.conns[server.index] for node in world.nodes) == len(here)
    assert sum(len(server.sessions) for server in world.servers) <= len(sessions)
    unserved = sum(any(one.stage is not Stage.SERVED for one in node.sessions) for node in world.nodes)
    assert world.tally.unserved == unserved


@each_peer
def test_without_a_fault_nothing_is_cut_and_everybody_served(peer: Peer) -> None:
    figures = measured(FLEET, peer.policy, SCENARIO["calm"])
    assert (figures.cuts, figures.peak, figures.outage) == (0, 0, 0)


@each_peer
def test_one_seed_makes_one_course_of_events(peer: Peer) -> None:
    first, again, other = (
        msgspec.structs.replace(measured(fleet, peer.policy, SCENARIO["power-off"]), seconds=0)
        for fleet in (FLEET, FLEET, FLEET._replace(seed=6))
    )
    assert first == again
    assert first != other


def test_where_nobody_looks_clients_find_a_dead_server_by_their_own_pings() -> None:
    figures = measured(FLEET, PEER["nginx-kubespray"].policy, SCENARIO["power-off"])
    assert figures.cuts == 0
    assert PING_AFTER - 5 < figures.outage < PING_AFTER + 5


def test_sessions_of_a_dead_server_are_cut_once_and_with_need() -> None:
    world, _ = simulated(FLEET, PEER["kubelb"].policy, SCENARIO["power-off"])
    shares = [sum(node.conns[index] for node in world.nodes) for index in range(SERVERS)]
    assert shares[0] == 0
    assert sum(shares) == FLEET.nodes * len(ROLES)
    assert world.tally.needless == 0
    assert 0 < world.tally.cuts <= FLEET.nodes * 2


@pytest.mark.parametrize(("peer", "cut"), [("kubelb-before", True), ("haproxy-tuned", True), ("kubelb", False)])
def test_who_takes_slow_for_dead_cuts_sessions_of_an_overloaded_server(peer: str, cut: bool) -> None:
    figures = measured(FLEET, PEER[peer].policy, SCENARIO["overload"])
    assert (figures.needless > 0) == cut
    assert figures.needless == figures.cuts


def test_an_overload_is_answered_late_and_worked_off() -> None:
    scenario = SCENARIO["overload"]
    world, looks = simulated(FLEET, PEER["nginx-rke"].policy, scenario)
    assert looks.worst > 5
    assert all(server.wait(scenario.seconds) < 1 for server in world.servers)
