from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from bench.__main__ import main
from bench.fleet.goals import reached
from bench.fleet.report import markdown
from bench.fleet.results import Figures, FleetRun

BEST = Figures(
    peak=100,
    peak_one=60,
    peak_with_probes=140,
    outage=2.5,
    open=False,
    cuts=10,
    needless=0,
    probes=0.2,
    probes_peak=0.3,
    worst_wait=0.1,
    seconds=1.0,
)


def row(mine: Figures, other: Figures, name: str) -> list[str]:
    figures = {"overload": {"kubelb": mine, "k3s": other}}
    run = FleetRun("a command", 5000, 4, 32, 1, {"kubelb": "kubelb", "k3s": "k3s"}, {"overload": "all slow"}, figures)
    (line,) = [line for line in markdown(run).splitlines() if line.startswith(f"| all slow: {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


def test_a_peak_higher_than_somebody_elses_is_missed_but_for_noise() -> None:
    higher = msgspec.structs.replace(BEST, peak=104)
    assert row(higher, BEST, "peak") == ["104", "100"]
    assert row(msgspec.structs.replace(BEST, peak=106), BEST, "peak") == ["106 **missed**", "100"]


def test_kubelb_without_probes_is_nobody_else() -> None:
    less = msgspec.structs.replace(BEST, peak=50)
    assert reached("peak", {"kubelb": BEST, "kubelb-nginx": less}) is True
    assert reached("peak", {"kubelb": BEST, "k3s": less}) is False


def test_one_needless_cut_more_is_missed() -> None:
    assert row(BEST, BEST, "sessions cut") == ["0", "0"]
    assert row(msgspec.structs.replace(BEST, needless=1), BEST, "sessions cut") == ["1 **missed**", "0"]


def test_too_many_probes_are_missed_whatever_others_do() -> None:
    more = msgspec.structs.replace(BEST, probes=0.21)
    assert row(BEST, more, "probes/s") == ["0.200", "0.210"]
    assert row(more, BEST, "probes/s") == ["0.210 **missed**", "0.200"]


def test_an_outage_that_goes_on_is_marked() -> None:
    assert row(BEST, msgspec.structs.replace(BEST, outage=65.0, open=True), "until 99%") == ["2.50", "≥ 65.0"]


def test_the_command_prints_a_table_and_writes_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fleet.json"
    chosen = ["--scenario", "calm", "--peer", "kubelb", "--peer", "k3s"]
    assert main(["fleet", "--nodes", "20", "--jobs", "1", *chosen, "--json", str(file)]) == 0
    assert "| nothing happens: sessions cut without need" in capsys.readouterr().out
    figures = json.loads(file.read_text())["figures"]["calm"]
    assert set(figures) == {"kubelb", "k3s"}
