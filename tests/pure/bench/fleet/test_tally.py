from __future__ import annotations

from bench.fleet.tally import Tally, peak, total


def test_a_peak_is_of_the_servers_and_seconds_asked_for() -> None:
    tally = Tally(1)
    tally.client_handshakes.update({(0, 3): 50, (1, 4): 7, (2, 4): 8, (1, 5): 9, (1, 9): 99})
    assert peak(tally.client_handshakes, (1, 2), 3, 9) == 15
    assert peak(tally.client_handshakes, (1,), 3, 9) == 9
    assert peak(tally.client_handshakes, (2,), 5, 9) == 0
    assert total(tally.client_handshakes, 3, 9) == 74


def test_an_outage_is_the_longest_time_with_more_than_one_node_in_a_hundred_unserved() -> None:
    tally = Tally(200)
    for now in (1.0, 2.0, 3.0):
        tally.lost(now)
    tally.served(4.5)
    assert tally.outage(10.0) == (1.5, False)
    tally.lost(20.0)
    assert tally.outage(21.0) == (1.5, False)
    assert tally.outage(23.0) == (3.0, True)
    for now in (24.0, 25.0, 26.0):
        tally.served(now)
    assert tally.outage(99.0) == (4.0, False)
