from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubelb.balance.eligible import eligible
from kubelb.snapshot import Server
from tests.pure.balance.pools import a_server, any_servers, loads


@given(st.data(), any_servers())
def test_the_best_kind_that_has_anybody_left(data: st.DataObject, servers: list[Server]) -> None:
    positions = range(len(servers))
    conns = data.draw(loads(len(servers)))
    failing, tried = (data.draw(st.sets(st.sampled_from(positions))) for _ in range(2))

    def kind(backup: bool, well: bool) -> list[int]:
        return [
            position
            for position in positions
            if servers[position].backup == backup
            and (position not in failing) == well
            and position not in tried
            and not servers[position].down
            and (servers[position].max_conns == 0 or conns[position] < servers[position].max_conns)
        ]

    assert eligible(servers, conns, failing, tried) == (
        kind(backup=False, well=True)
        or kind(backup=True, well=True)
        or kind(backup=False, well=False)
        or kind(backup=True, well=False)
    )


def test_a_pool_of_one_is_tried_although_it_fails() -> None:
    assert eligible([a_server(1)], [0], {0}, ()) == [0]


def test_down_is_never_the_last_resort() -> None:
    assert eligible([a_server(1, down=True), a_server(2, max_conns=1)], [0, 1], {0, 1}, ()) == []
