"""That the simulated kubelb goes by kubelb's own rules: whoever changes them changes what comes out."""

from __future__ import annotations

import pytest

from bench.fleet.policies.kubelb import running
from bench.fleet.results import Figures
from bench.fleet.scenarios import SCENARIOS
from bench.fleet.settings import Fleet
from bench.fleet.simulate import measured
from kubelb.config.model.pools import Health
from kubelb.config.values import Duration
from kubelb.control import decide
from kubelb.health import machine, schedule
from kubelb.health.machine import Kind
from kubelb.worker import cuts, waits

FLEET = Fleet(nodes=40, cores=1, seed=5)
DEFAULT = Health()
SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}


def figures(scenario: str, health: Health = DEFAULT) -> Figures:
    return measured(FLEET, running(health), SCENARIO[scenario])


def test_nobody_is_found_gone_where_no_number_of_retransmissions_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures("power-off").cuts > 0
    monkeypatch.setattr(machine, "_LOST", 1000)
    assert figures("power-off").cuts == 0


def test_an_overload_costs_sessions_where_silence_is_proof_of_death(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures("overload").cuts == 0
    monkeypatch.setitem(machine._AFTER, Kind.SILENT, machine._after_unanswered)
    monkeypatch.setattr(decide, "_cut_of_dead", lambda server, known, *_: decide._Cut(known.found_at))
    assert figures("overload").needless > 0


def test_no_session_is_cut_where_no_cut_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_cut_of_dead", lambda *_: decide._STAY)
    assert figures("power-off").cuts == 0


def test_nobody_is_found_gone_where_relay_threads_make_nothing_of_what_tcp_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "_unacknowledged", lambda *_: None)
    monkeypatch.setattr(waits, "_questioned", lambda *_: None)
    assert figures("power-off").cuts == 0


def test_a_cut_is_spread_as_relay_threads_spread_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slowly = Health(reset_spread=Duration(40))
    monkeypatch.setattr(cuts, "_MANY", 1000)
    at_once = figures("power-off", slowly)
    monkeypatch.setattr(cuts, "_MANY", 1)
    spread = figures("power-off", slowly)
    assert spread.outage > at_once.outage + 10


def test_servers_that_are_not_ready_are_asked_as_often_as_the_schedule_says(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = figures("restart").probes_peak
    monkeypatch.setattr(schedule, "_SAID_SO", ())
    assert figures("restart").probes_peak > as_it_is * 1.5
