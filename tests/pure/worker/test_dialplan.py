from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.snapshot import Listener
from kubelb.worker.dialplan import GiveUp, Start, Wait, most_tries, next_step, patience

_BEGUN = 1000.0
_ROUNDING = 1e-6
_TICK = 1 / 64
"""Seconds by which deadlines may come late."""


def a_listener(connect_timeout: float = 2.0, hedge_delay: float = 0.25) -> Listener:
    return Listener(address="x", pool="pool", connect_timeout=connect_timeout, hedge_delay=hedge_delay)


listeners = st.builds(a_listener, st.floats(0.01, 60), st.floats(0.001, 60))


@dataclass(frozen=True)
class Peer:
    """A server: it answers so many seconds after it was asked; never: ``math.inf``."""

    after: float
    accepts: bool


silent = Peer(math.inf, accepts=False)
peers = st.one_of(
    st.just(silent),
    st.just(Peer(0, accepts=False)),
    st.builds(Peer, st.floats(0, 10), accepts=st.booleans()),
)


class Failure(NamedTuple):
    at: float
    left: bool
    """Whether there was another server."""
    followed: bool
    """Whether that was tried then."""


@dataclass
class Simulation:
    """A dial of servers in order, carried out as :class:`kubelb.worker.dial.Dial` does it, in a time of its own.

    Every wake-up is late by up to ``late`` seconds.
    """

    listener: Listener
    peers: list[Peer]
    late: float = 0.0
    now: float = _BEGUN
    tried: int = 0
    starts: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    winner: int | None = None

    def run(self) -> Simulation:
        failed = False
        while self.winner is None:
            step = self.next_step(failed)
            if isinstance(step, GiveUp):
                return self
            failed = self.start() if isinstance(step, Start) else self.wait(step)
        return self

    def next_step(self, failed: bool) -> Start | Wait | GiveUp:
        begun = [self.starts[i] for i in self.waiting]
        step = next_step(self.listener, len(self.peers), self.tried, _BEGUN, begun, self.now, failed)
        if failed:
            self.failures.append(Failure(self.now, self.tried < len(self.peers), isinstance(step, Start)))
        return step

    def start(self) -> bool:
        """Whether it failed at once."""
        number, peer = self.tried, self.peers[self.tried]
        self.tried += 1
        self.starts.append(self.now)
        if peer.after == 0 and peer.accepts:
            self.winner = number
        elif peer.after > 0:
            self.waiting.append(number)
        return peer.after == 0 and not peer.accepts

    def wait(self, step: Wait) -> bool:
        """Whether a server has failed meanwhile."""
        assert step.until > self.now
        answers = sorted((self.starts[i] + self.peers[i].after, i) for i in self.waiting)
        if not answers or answers[0][0] > step.until:
            self.now = step.until + self.late
            return False
        self.now, number = answers[0]
        self.waiting.remove(number)
        if self.peers[number].accepts:
            self.winner = number
        return not self.peers[number].accepts

    @property
    def give_up_at(self) -> float:
        return _BEGUN + self.listener.connect_timeout


simulations = st.builds(Simulation, listeners, st.lists(peers, min_size=1, max_size=12), st.floats(0, _TICK))


@given(listeners, st.integers(1, 40), st.floats(0, _TICK))
def test_every_server_has_its_chance_when_none_answers(listener: Listener, servers: int, late: float) -> None:
    simulation = Simulation(listener, [silent] * servers, late).run()
    assert simulation.winner is None
    share = listener.connect_timeout / servers
    assert len(simulation.starts) == servers or late >= share
    for number, start in enumerate(simulation.starts):
        # However many servers there are, none comes later than one wake-up does.
        assert start <= _BEGUN + number * share + late + _ROUNDING


@given(simulations)
def test_nothing_is_begun_after_the_time_and_the_dial_ends(simulation: Simulation) -> None:
    simulation.run()
    assert all(start < simulation.give_up_at for start in simulation.starts)
    assert simulation.now <= simulation.give_up_at + simulation.late + _ROUNDING


@given(simulations)
def test_each_server_is_tried_at_most_once(simulation: Simulation) -> None:
    simulation.run()
    assert simulation.tried == len(simulation.starts) <= len(simulation.peers)


@given(simulations)
def test_a_failure_is_followed_by_the_next_at_once(simulation: Simulation) -> None:
    simulation.run()
    for failure in simulation.failures:
        assert failure.followed == (failure.left and failure.at < simulation.give_up_at)


@given(simulations)
def test_a_client_is_refused_only_when_nobody_could_serve_it(simulation: Simulation) -> None:
    """All have been tried, and none that could have answered in time was left out or ignored."""
    simulation.run()
    if simulation.winner is None and simulation.late == 0:
        assert simulation.tried == len(simulation.peers)
        for start, peer in zip(simulation.starts, simulation.peers, strict=True):
            assert not peer.accepts or start + peer.after >= simulation.give_up_at - _ROUNDING


@given(simulations)
def test_nobody_gets_company_without_a_failure_or_a_wait(simulation: Simulation) -> None:
    simulation.run()
    failures = {failure.at for failure in simulation.failures}
    servers = len(simulation.peers)
    hedged = patience(simulation.listener, servers)
    share = simulation.listener.connect_timeout / servers
    for number in range(1, len(simulation.starts)):
        before, start = simulation.starts[number - 1 : number + 1]
        behind = start >= _BEGUN + number * share - _ROUNDING
        assert start in failures or start >= before + hedged - _ROUNDING or behind


def test_the_hedge_delay_is_shortened_where_servers_are_many() -> None:
    assert patience(a_listener(2, 0.25), 1) == 0.25
    assert patience(a_listener(2, 0.25), 8) == 0.25
    assert patience(a_listener(2, 0.25), 20) == 0.1
    assert patience(a_listener(0.1, 0.25), 1) == 0.1


def test_the_defaults() -> None:
    """Three servers that do not answer are tried every quarter of a second; then it is waited for any."""
    simulation = Simulation(a_listener(), [silent] * 3).run()
    assert simulation.starts == [_BEGUN, _BEGUN + 0.25, _BEGUN + 0.5]
    assert simulation.now == _BEGUN + 2
    assert next_step(a_listener(), 3, 3, _BEGUN, simulation.starts, _BEGUN + 1, failed=True) == Wait(_BEGUN + 2)


def test_nothing_to_wait_for() -> None:
    assert next_step(a_listener(), 3, 3, _BEGUN, [], _BEGUN, failed=True) == GiveUp()
    assert next_step(a_listener(), 3, 0, _BEGUN, [], _BEGUN + 0.1, failed=False) == Start()


@pytest.mark.parametrize("now", [_BEGUN + 0.5, _BEGUN + 1.9])
def test_from_the_retry_timeout_on_it_is_only_waited(now: float) -> None:
    listener = Listener(address="x", pool="pool", connect_timeout=2.0, retry_timeout=0.5)
    for failed in (False, True):
        assert next_step(listener, 3, 1, _BEGUN, [_BEGUN], now, failed) == Wait(_BEGUN + 2)
        assert next_step(listener, 3, 1, _BEGUN, [], now, failed) == GiveUp()
        assert next_step(listener, 3, 1, _BEGUN, [_BEGUN], _BEGUN + 0.499, failed) == Start()


@given(st.integers(0, 12), st.lists(peers, min_size=1, max_size=12), st.none() | st.floats(0.001, 60))
def test_no_more_is_tried_than_the_listener_allows(
    tries: int, members: list[Peer], retry_timeout: float | None
) -> None:
    listener = Listener(address="x", pool="pool", connect_timeout=2.0, max_tries=tries, retry_timeout=retry_timeout)
    most = most_tries(listener, len(members))
    simulation = Simulation(listener, members[:most]).run()
    assert 1 <= len(simulation.starts) <= min(len(members), tries or len(members))
    assert all(start < _BEGUN + (retry_timeout or 2.0) for start in simulation.starts)
    refusing = all(peer == Peer(0, accepts=False) for peer in members[:most])
    assert not refusing or len(simulation.starts) == most
