"""Repeats of one event are summed up, and nothing else is left out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from kubelb.log import Repeats

Step = tuple[float, str, str]
"""Seconds since the one before, the event, its server."""
steps = st.lists(st.tuples(st.floats(0, 6), st.sampled_from("ab"), st.sampled_from(["1", "2"])), max_size=60)


class Log:
    """What gets through, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self._repeats = Repeats(lambda: self.now)

    def write(self, event: str, **fields: object) -> EventDict | None:
        try:
            return self._repeats(None, "warning", {"event": event, "_limited": True, **fields})
        except structlog.DropEvent:
            return None


def test_the_first_is_written_and_the_rest_summed_up() -> None:
    log = Log()
    assert log.write("a", server="x", seconds=1.5) == {"event": "a", "server": "x", "seconds": 1.5}
    for log.now in (1.0, 5.0, 9.9):
        assert log.write("a", server="x", seconds=log.now, client=str(log.now)) is None
    log.now = 10.0
    assert log.write("a", server="x") == {"event": "a", "server": "x", "repeated": 3}
    log.now = 20.0
    assert log.write("a", server="x") == {"event": "a", "server": "x"}


@given(steps)
def test_every_event_is_written_or_counted(run: Iterable[Step]) -> None:
    log = Log()
    told: dict[tuple[str, str], int] = {}
    written_at: dict[tuple[str, str], float] = {}
    happened: dict[tuple[str, str], int] = {}
    for pause, event, server in run:
        log.now += pause
        kind = event, server
        happened[kind] = happened.get(kind, 0) + 1
        record = log.write(event, server=server)
        due = kind not in written_at or log.now >= written_at[kind] + 10
        assert (record is not None) == due
        if record is not None:
            written_at[kind] = log.now
            told[kind] = told.get(kind, 0) + 1 + record.get("repeated", 0)
            assert told[kind] == happened[kind]


@pytest.mark.parametrize("field", ["event", "pool", "server", "listener", "reason", "level", "exception"])
def test_another_text_is_another_event(field: str) -> None:
    log = Log()
    fields = {"event": "a", "pool": "p", "reason": "r"}
    assert log.write(**fields) is not None
    assert log.write(**{**fields, field: "other"}) is not None
    assert log.write(**fields) is None


def test_what_did_not_ask_for_it_is_never_left_out() -> None:
    repeats = Repeats(lambda: 0.0)
    assert [repeats(None, "info", {"event": "a"}) for _ in range(3)] == [{"event": "a"}] * 3


def test_whoever_varies_a_text_gets_a_few_lines_and_no_more() -> None:
    """A client, for one, that begins with another broken header each time."""
    log = Log()
    written = [log.write("a", listener="l", reason=str(number)) for number in range(1000)]
    assert sum(line is not None for line in written) == 5
    log.now = 10.0
    assert log.write("a", listener="l", reason="anew") == {
        **{"event": "a", "listener": "l", "reason": "anew"},
        "repeated": 995,
    }


def test_all_events_together_have_a_bound() -> None:
    log = Log()
    written = [log.write("a", server=str(number)) for number in range(5000)]
    assert sum(line is not None for line in written) == 200
    log.now = 10.0
    assert log.write("b") == {"event": "b", "others": 4800}
    assert log.write("c") == {"event": "c"}


def test_it_remembers_no_more_than_it_has_room_for() -> None:
    log = Log()
    for number in range(5000):
        log.now += 0.1
        log.write("a", server=str(number))
        assert len(log._repeats._kinds) <= 1000
