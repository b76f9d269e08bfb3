from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.eligible import eligible
from kubelb.snapshot import Server, State
from tests.pure.balance.pools import a_server, any_servers, loads

_BEST_FIRST: list[set[State]] = [{"unknown", "up"}, {"suspect"}, {"draining"}, {"down"}]


@given(st.data(), any_servers())
def test_the_best_kind_that_has_anybody_left(data: st.DataObject, servers: list[Server]) -> None:
    positions = range(len(servers))
    conns = data.draw(loads(len(servers)))
    failing, tried = (data.draw(st.sets(st.sampled_from(positions))) for _ in range(2))
    left = [
        position
        for position, server in enumerate(servers)
        if position not in tried
        and server.state != "disabled"
        and not server.drained
        and (server.max_conns == 0 or conns[position] < server.max_conns)
    ]

    def is_in(position: int, states: set[State]) -> bool:
        state = servers[position].state
        return ("suspect" if position in failing and state in ("unknown", "up") else state) in states

    kinds = (
        [
            position
            for position in left
            if is_in(position, states) and (servers[position].backup, servers[position].tier) == (backup, tier)
        ]
        for states, backup, tier in product(_BEST_FIRST, (False, True), (0, 1, 2))
    )
    assert eligible(servers, conns, failing, tried) == next(filter(None, kinds), [])


def in_states(*states: State) -> list[Server]:
    return [a_server(number, state=state) for number, state in enumerate(states)]


def test_a_pool_of_one_is_tried_although_it_fails() -> None:
    assert eligible([a_server(1)], [0], {0}, ()) == [0]


def test_disabled_and_drained_are_never_the_last_resort() -> None:
    servers = [a_server(1, state="disabled"), a_server(2, max_conns=1), a_server(3, drained=True)]
    assert eligible(servers, [0, 1, 0], {0, 1, 2}, ()) == []


def test_nobody_has_to_have_looked() -> None:
    assert eligible(in_states("unknown", "up", "suspect", "down"), [0] * 4, (), ()) == [0, 1]


def test_when_all_are_down_all_are_tried() -> None:
    assert eligible(in_states("down", "down", "disabled"), [0] * 3, {0}, ()) == [0, 1]


def test_one_that_is_not_ready_is_better_than_one_that_is_down() -> None:
    servers = in_states("down", "draining")
    assert eligible(servers, [0, 0], (), ()) == [1]
    assert eligible(servers, [0, 0], (), {1}) == [0]


def test_a_tier_is_used_while_any_of_it_is_up() -> None:
    near = [a_server(1), a_server(2, state="down")]
    far = [a_server(3, tier=1), a_server(4, tier=2)]
    assert eligible([*near, *far], [0] * 4, (), ()) == [0]
    assert eligible([*near, *far], [0] * 4, {0}, ()) == [2]
    assert eligible([*near, *far], [0] * 4, (), {0, 2}) == [3]
