from __future__ import annotations

import pytest

from bench.failover.goals import GOALS, goal_for
from bench.failover.peers.catalogue import KUBELB, KUBELB_NGINX, PEERS
from bench.failover.reading import GAP, REFUSED, Figure
from bench.failover.report import markdown
from bench.failover.results import FailoverRun, Outcome
from bench.failover.scenarios import SCENARIOS
from bench.goals import Goal
from bench.results import Machine

MACHINE = Machine(2, "a CPU", "6.1", "3.11.2", "1.22.1", "4.1.0", "0.1.0")
PEER_TITLES = {"kubelb": "kubelb", "nginx-rke": "nginx, RKE"}


def report(
    gaps: list[Figure],
    refused: list[Figure],
    failures: dict[str, str] | None = None,
    peers: dict[str, str] = PEER_TITLES,
) -> str:
    rounds = [{GAP: gap, REFUSED: fault} for gap, fault in zip(gaps, refused, strict=True)]
    outcome = Outcome("killed", "a kill", (GAP, REFUSED), {next(iter(peers)): rounds}, failures or {})
    return markdown(FailoverRun(MACHINE, "2.6", "1.40", "python -m bench failover", 3, False, dict(peers), [outcome]))


def row(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def figures(*values: float) -> list[Figure]:
    return [Figure(value) for value in values]


def test_medians_extremes_goals_and_peers_stand_in_the_row() -> None:
    text = report(figures(150, 201, 120.4), figures(0, 0, 0))
    assert row(text, "a kill: longest") == [f"a kill: {GAP}", "≤ 200", "150 [120..201]", "–"]
    assert row(text, "a kill: failed new") == [f"a kill: {REFUSED}", "≤ 0", "0", "–"]
    assert [line.split("|")[4].strip() for line in text.splitlines()[:1]] == ["nginx, RKE"]


def test_a_time_is_judged_by_the_median_and_a_failure_in_any_round() -> None:
    text = report(figures(150, 201, 202), figures(0, 1, 0))
    assert row(text, "a kill: longest")[2] == "201 [150..202] **missed**"
    assert row(text, "a kill: failed new")[2] == "0 [0..1] **missed**"


def test_what_had_not_ended_is_marked() -> None:
    text = report([Figure(8000, open=True), Figure(150), Figure(9000, open=True)], figures(0, 0, 0))
    assert row(text, "a kill: longest")[2] == "≥ 8000 [150..≥ 9000] **missed**"


def test_a_peer_without_figures_reaches_nothing_and_its_reason_is_told() -> None:
    text = report([], [], {"kubelb": "clients were not served within 20 s"})
    assert row(text, "a kill: longest")[1:3] == ["≤ 200", "– **missed**"]
    assert "**killed, kubelb: not measured:** clients were not served within 20 s" in text


def test_goals_are_kubelbs() -> None:
    text = report(figures(250), figures(0), peers={"nginx-rke": "nginx, RKE"})
    assert row(text, "a kill: longest")[1:] == ["", "250"]


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.case}-{goal.metric}")
def test_every_goal_is_measured(goal: Goal) -> None:
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == goal.case]
    assert goal.metric in scenario.figures
    assert goal.subject in (KUBELB.name, KUBELB_NGINX.name)
    assert goal_for(goal.case, goal.metric, goal.subject) is goal


def test_names_are_unlike() -> None:
    for names in ([scenario.name for scenario in SCENARIOS], [peer.name for peer in PEERS]):
        assert len(names) == len(set(names))
