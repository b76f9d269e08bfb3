from __future__ import annotations

import select
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.relay.flow import INTEREST, READ, WRITE, Event, State, after

_POSSIBLE = {
    (State.OPEN, Event.STUCK): State.BLOCKED,
    (State.OPEN, Event.END): State.SHUT,
    (State.BLOCKED, Event.DRAINED): State.OPEN,
    (State.OPEN, Event.SPENT): State.RESTING,
    (State.RESTING, Event.DUE): State.OPEN,
}


@pytest.mark.parametrize(("state", "event"), [*product(State, Event)])
def test_what_cannot_happen_is_refused(state: State, event: Event) -> None:
    if (state, event) in _POSSIBLE:
        assert after(state, event) is _POSSIBLE[state, event]
    else:
        with pytest.raises(KeyError):
            after(state, event)


@pytest.mark.parametrize("names", [State, Event])
def test_no_two_names_mean_the_same(names: type[State | Event]) -> None:
    assert len(names) == len(names.__members__)


@given(st.lists(st.sampled_from(Event)))
def test_a_flow_ends_once_and_never_with_bytes_held_back(events: list[Event]) -> None:
    state, held = State.OPEN, False
    for event in events:
        try:
            state = after(state, event)
        except KeyError:
            continue
        held = {Event.STUCK: True, Event.DRAINED: False}.get(event, held)
        assert held == (state is State.BLOCKED)
        if event is Event.END:
            assert not [later for later in Event if (state, later) in _POSSIBLE]


@pytest.mark.parametrize(("out", "into"), [*product(State, State)])
def test_it_reads_only_while_open_and_waits_to_write_only_while_blocked(out: State, into: State) -> None:
    mask = INTEREST[out][into]
    assert (mask & READ != 0) == (out is State.OPEN)
    assert (mask & WRITE != 0) == (into is State.BLOCKED)
    assert not mask & ~(READ | WRITE)


def test_the_masks_are_epolls() -> None:
    assert select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP == READ
    assert select.EPOLLOUT == WRITE
