from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.failover import reading
from bench.failover.reading import FIGURES, Figure, first_reply, longest_gap, percentile, read, share_of, unevenness
from bench.failover.records import UNANSWERED, End, Harm, Record, Try
from bench.failover.scenarios import SCENARIOS, Scenario

AT, STOPPED = 100.0, 110.0
HARM = Harm(AT, AT + 0.5)


def record(
    *requests: Try,
    connections: tuple[Try, ...] = (),
    transfers: tuple[Try, ...] = (),
    ends: tuple[End, ...] = (),
    sessions: tuple[str, ...] = (),
) -> Record:
    return Record(
        stopped=STOPPED,
        requests=list(requests),
        connections=list(connections),
        transfers=list(transfers),
        ends=list(ends),
        sessions=list(sessions),
    )


def taken(name: str, record: Record) -> Figure:
    return FIGURES[name](record, HARM)


def replies(client: int, *moments: float) -> list[Try]:
    return [Try(client, moment - 0.01, moment, "a") for moment in moments]


def test_the_longest_gap_is_that_of_the_worst_client_after_the_harm() -> None:
    steady = replies(1, *(99 + n / 8 for n in range(88)))
    assert longest_gap(record(*steady), AT) == Figure(0.125)
    paused = replies(2, 97, 99.5, 101.5, 102, 103.5, *(104 + n for n in range(7)))
    assert longest_gap(record(*steady, *paused), AT) == Figure(2.0)


def test_a_gap_before_the_harm_is_nobodys_fault() -> None:
    early = replies(1, 90, 99.5, *(100 + n / 2 for n in range(21)))
    assert longest_gap(record(*early), AT) == Figure(0.5)


def test_a_client_never_served_again_leaves_the_gap_open() -> None:
    assert longest_gap(record(*replies(1, 99, 100, 101.5)), AT) == Figure(8.5, open=True)
    failing = [Try(2, 100.0 + n, 101.0 + n, fault="reset") for n in range(10)]
    assert longest_gap(record(*replies(1, 100, 105, 110), *failing), AT) == Figure(10.0, open=True)


@given(st.lists(st.floats(90, 110), min_size=1), st.floats(90, 110))
def test_a_gap_is_never_shorter_than_the_time_by_the_number_of_replies(moments: list[float], at: float) -> None:
    later = [moment for moment in moments if moment >= at]
    gap = longest_gap(record(*replies(1, *sorted(moments))), at)
    assert gap.value * (len(later) + 1) >= STOPPED - at - 1e-6


def test_a_request_that_failed_after_the_harm_began_counts() -> None:
    tries = [
        Try(1, 98, 99, fault="reset"),
        Try(1, 99, 100.2, fault="no answer"),
        Try(1, 101, 101.1, "a"),
        Try(1, 101, 102, fault="cut short"),
    ]
    assert taken(reading.FAILED, record(*tries)) == Figure(2)


def test_a_new_connection_counts_that_was_begun_once_the_harm_was_done() -> None:
    under_way, later = Try(0, 100.4, 100.6, fault="reset"), Try(0, 100.5, 100.6, fault="reset")
    assert taken(reading.REFUSED, record(connections=(under_way, later))) == Figure(1)


def test_connections_are_timed_from_the_harm_on() -> None:
    before, after = Try(0, 99, 109, "a"), tuple(Try(0, 101.0, 101 + n / 1000, "b") for n in range(1, 101))
    figures = read((reading.P50, reading.P99, reading.MAX), record(connections=(before, *after)), HARM)
    assert [round(figure.value) for figure in figures.values()] == [50, 99, 100]


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_has_its_part_below_it(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, part)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= part * len(ordered) - 1e-6
    assert sum(value < found for value in ordered) < part * len(ordered)


def test_the_share_sent_to_a_server_is_of_those_answered_in_that_time() -> None:
    connections = [
        Try(0, 101, 101.1, "a"),
        Try(0, 102, 102.1, "a"),
        Try(0, 103, 103.1, "b"),
        Try(0, 104, 104.1, "c"),
        Try(0, 105, 105.1, "c"),
        Try(0, 106, 106.1, fault="reset"),
        Try(0, 110, 110.1, "a"),
    ]
    assert share_of("a", connections, 102, 110) == 25
    assert share_of("a", [], 102, 110) == 0


def test_served_again_is_the_first_answer_after_the_return() -> None:
    connections = (
        Try(0, 99, 99.5, "a"),
        Try(0, 100, 100.5, fault="reset"),
        Try(0, 101, 103.5, "a"),
        Try(0, 102, 102.5, "a"),
    )
    assert first_reply(record(connections=connections), AT) == Figure(2.5)
    assert first_reply(record(connections=connections[:2]), AT) == Figure(10.0, open=True)


def test_a_hanging_connection_is_told_as_hanging() -> None:
    ended = record(connections=(Try(0, 101, 103, fault="reset"),))
    assert taken(reading.ERROR, ended) == Figure(2.0)
    assert taken(reading.MAX, ended) == Figure(2000)
    hanging = record(connections=(Try(0, 101, 136.1, fault=UNANSWERED), Try(0, 102, 103, "b")))
    assert taken(reading.ERROR, hanging).open
    assert taken(reading.MAX, hanging).open


def test_sessions_that_ended_after_the_harm_began_were_cut() -> None:
    ended = record(ends=(End(99.9, "a"), End(100, "a"), End(101, "b"), End(109, "c")))
    assert taken(reading.CUT, ended) == Figure(3)
    assert taken(reading.CUT_OTHERS, ended) == Figure(2)


def test_a_transfer_is_cut_that_was_under_way_when_the_harm_was_done() -> None:
    transfers = (
        Try(0, 95, 99, "a", "reset"),
        Try(0, 95, 101, "a", "reset"),
        Try(0, 95, 107, "b"),
        Try(0, 96, 107, "b", "cut short"),
        Try(0, 100.4, 100.5, fault="reset"),
        Try(0, 101, 102, "b", "reset"),
    )
    assert taken(reading.TRANSFERS_CUT, record(transfers=transfers)) == Figure(2)


def test_what_was_forbidden_or_sent_there_is_counted_once_the_harm_was_done() -> None:
    connections = (
        Try(0, 100, 100.1, "a", status=403),
        Try(0, 101, 101.1, "a", status=403),
        Try(0, 106, 106.1, "a", status=200),
        Try(0, 107, 107.1, "a", status=200),
        Try(0, 108, 108.1, "b", status=200),
    )
    assert taken(reading.FORBIDDEN, record(connections=connections)) == Figure(1)
    assert taken(reading.SENT_LATE, record(connections=connections)) == Figure(1)


@pytest.mark.parametrize(
    ("counts", "percent"), [((20, 20, 20), 0), ((0, 30, 30), 100), ((18, 21, 21), 10), ((19, 19, 20), 5)]
)
def test_unevenness_is_that_of_the_farthest_server(counts: tuple[int, int, int], percent: float) -> None:
    sessions = [name for name, count in zip("abc", counts, strict=True) for _ in range(count)]
    missing = 60 - len(sessions)
    assert unevenness([*sessions, *[""] * missing], ("a", "b", "c")) == pytest.approx(percent)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_has_the_load_its_figures_are_taken_of(scenario: Scenario) -> None:
    little = record(*replies(1, 100.5), connections=(Try(0, 100, 101, "a"),), sessions=("a", "b", "c"))
    assert tuple(read(scenario.figures, little, HARM)) == scenario.figures
    load, figures = scenario.load, set(scenario.figures)
    assert load.every or not figures & {reading.REFUSED, reading.MAX, reading.SENT_LATE, reading.FORBIDDEN}
    assert load.clients or not figures & {reading.GAP, reading.SERVED_AGAIN, reading.FAILED}
    assert load.sessions or not figures & {reading.CUT, reading.CUT_OTHERS, reading.UNEVEN}
    assert load.transfers or reading.TRANSFERS_CUT not in figures
    assert scenario.quick_seconds <= scenario.seconds


def test_every_figure_is_taken_somewhere() -> None:
    assert {name for scenario in SCENARIOS for name in scenario.figures} == FIGURES.keys()
