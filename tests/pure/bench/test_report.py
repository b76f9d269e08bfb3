from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.report import markdown, table
from bench.results import CaseResult, Machine, Metric, Run, Sample

RATE = Metric("req/s")
MACHINE = Machine(2, "a CPU", "6.1", "3.11.2", "1.22.1", "4.1.0", "0.1.0")


def run(*cases: CaseResult, subjects: tuple[str, ...] = ("default", "pin")) -> Run:
    return Run(MACHINE, "python -m bench --quick", 3, 1, "nginx", subjects, list(cases))


def case(failures: dict[str, str] | None = None, errors: int = 0, **rates: list[float]) -> CaseResult:
    """16 keep-alive connections: the goal is 1.0 for the default, 1.1 with pin."""
    samples = {name: [Sample({"req/s": rate}, errors) for rate in taken] for name, taken in rates.items()}
    return CaseResult("keepalive-16", "16 connections", (RATE,), samples, failures or {})


def row(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_medians_ratios_and_goals_stand_in_the_row() -> None:
    text = markdown(run(case(nginx=[1000, 2000, 4000], default=[1100, 1900, 4400], pin=[1000, 2000, 4000])))
    assert row(text, "case") == ["case", "nginx", "kubelb", "ratio to nginx", "goal", "reached", "pin"]
    assert row(text, "16 connections: req/s") == [
        "16 connections: req/s",
        "2,000",
        "1,900",
        "1.10 [0.95..1.10]",
        "≥ 1x",
        "yes",
        "1.00 [1.00..1.00], ≥ 1.1x: **no**",
    ]


def test_a_missed_goal_is_shown_as_missed() -> None:
    text = markdown(run(case(nginx=[1000], default=[999.9], pin=[1100])))
    assert row(text, "16 connections")[4:6] == ["≥ 1x", "**no**"]
    assert row(text, "16 connections")[6].endswith("yes")


def test_figures_with_errors_reach_no_goal_and_the_errors_are_told() -> None:
    text = markdown(run(case(nginx=[1000], default=[5000], pin=[5000], errors=3)))
    assert row(text, "16 connections")[5] == "**no**"
    assert "keepalive-16, default: 3 errors" in text


def test_a_peer_that_failed_leaves_the_row_and_its_reason() -> None:
    text = markdown(run(case({"default": "it did not start: no such option"}, nginx=[1000], pin=[1200])))
    assert row(text, "16 connections") == [
        "16 connections: req/s",
        "1,000",
        "–",
        "–",
        "≥ 1x",
        "**no**",
        "1.20 [1.20..1.20], ≥ 1.1x: yes",
    ]
    assert "keepalive-16, default: not measured:** it did not start: no such option" in text


def test_without_a_baseline_there_is_no_ratio() -> None:
    text = markdown(run(case({"nginx": "gone"}, default=[1000], pin=[1000])))
    assert row(text, "16 connections")[1:6] == ["–", "1,000", "–", "≥ 1x", "**no**"]


def test_the_machine_and_the_command_are_told() -> None:
    text = markdown(run())
    assert "`python -m bench --quick` on 2 CPUs (a CPU), Linux 6.1, Python 3.11.2, nginx 1.22.1" in text
    assert "3 interleaved rounds of 1 s" in text


CELLS = st.text(st.characters(exclude_characters="|", categories=["L", "N", "P"]), max_size=9)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=5)))
def test_a_table_keeps_its_cells_in_columns(lines: list[list[str]]) -> None:
    header, rule, *rows = table(lines[0], lines[1:]).split("\n")
    assert [[cell.strip() for cell in line[1:-1].split("|")] for line in (header, *rows)] == lines
    assert set(rule) == {"|", "-"}
    assert rule.count("|") == len(lines[0]) + 1
