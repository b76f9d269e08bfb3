from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kubelb.supervisor import plan
from kubelb.supervisor.plan import CONTROL, Ending, Phase, Place

LONGEST_PAUSE = 10.0
OLD = 10.0
STOP = 5.0

times = st.floats(0, 1e6)
pauses = st.sampled_from([0.0, 0.1, 1.0, 5.0, OLD, 3600.0]) | st.floats(0, 100)
phases = st.sampled_from(Phase)
endings = st.one_of(
    st.just(Ending()),
    st.builds(Ending, st.just(Phase.DRAINING), st.none() | times),
    st.builds(Ending, st.just(Phase.STOPPING), times),
    st.just(Ending(Phase.KILLING)),
)
places = st.builds(
    Place,
    name=st.sampled_from([CONTROL, "worker-0", "worker-1"]),
    pid=st.none() | st.integers(1, 1 << 22),
    ready=st.booleans(),
    started_at=times,
    young_deaths=st.integers(0, 100_000),
    spawn_at=times,
)


@given(places, times)
def test_a_dead_child_is_replaced_within_bounds(place: Place, lived: float) -> None:
    now = place.started_at + lived
    dead = plan.died(replace(place, pid=7), now)
    assert now <= dead.spawn_at <= now + LONGEST_PAUSE
    assert dead.pid is None
    assert not dead.ready
    assert plan.to_spawn([dead], Phase.RUNNING, dead.spawn_at) == [dead]


@given(st.lists(st.floats(0, 9), min_size=2, max_size=40))
def test_pauses_grow_while_it_keeps_dying_young(lives: list[float]) -> None:
    place, now, before = Place("worker-0"), 0.0, 0.0
    for number, lived in enumerate(lives, 1):
        place = plan.died(plan.started(place, number, now), now + lived)
        pause = place.spawn_at - (now + lived)
        assert pause >= before - 1e-6
        assert (number == 1) == (pause == 0.0)
        now, before = place.spawn_at, pause


def test_a_child_that_dies_at_once_is_replaced_after_these_seconds() -> None:
    place, waits = Place("worker-0"), []
    for _ in range(9):
        place = plan.died(plan.started(place, 7, 100.0), 100.0)
        waits.append(place.spawn_at - 100.0)
    assert waits == [0, 0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_ten_seconds_are_an_age() -> None:
    begun = plan.started(replace(Place("worker-0"), young_deaths=3), 7, 100.0)
    assert plan.died(begun, 109.9).young_deaths == 4
    assert plan.died(begun, 110.0).young_deaths == 0


def test_a_place_is_empty_at_first_and_filled_at_once() -> None:
    place = Place("worker-0")
    assert place == Place("worker-0", (), None, False, 0.0, 0, 0.0)
    assert plan.to_spawn([place], Phase.RUNNING, 0.0) == [place]
    begun = plan.started(replace(place, ready=True, pid=None), 7, 5.0)
    assert begun == Place("worker-0", (), 7, False, 5.0, 0, 0.0)
    assert plan.ready(begun) == replace(begun, ready=True)


@given(places, st.floats(OLD, 1e6))
def test_a_child_that_lived_starts_afresh(place: Place, lived: float) -> None:
    begun = plan.started(place, 7, 0.0)
    assert plan.died(begun, lived) == replace(begun, pid=None, ready=False, young_deaths=0, spawn_at=lived)


@given(st.lists(places), phases, times)
def test_only_empty_places_are_filled_and_only_while_running(chosen: list[Place], phase: Phase, now: float) -> None:
    spawned = plan.to_spawn(chosen, phase, now)
    due = [place for place in chosen if place.pid is None and place.spawn_at <= now]
    assert spawned == (due if phase is Phase.RUNNING else [])


@given(st.lists(places), phases, st.none() | times)
def test_it_looks_again_when_the_next_thing_is_due(chosen: list[Place], phase: Phase, deadline: float | None) -> None:
    empty = [place.spawn_at for place in chosen if place.pid is None and phase is Phase.RUNNING]
    due = [*empty, *([] if deadline is None else [deadline])]
    assert plan.next_look(chosen, Ending(phase, deadline)) == (min(due) if due else None)


@given(endings, st.none() | times, times)
def test_a_stop_never_becomes_gentler(ending: Ending, timeout: float | None, now: float) -> None:
    order = list(Phase)
    for after in (
        plan.stop_gracefully(ending, timeout, now),
        plan.stop_fast(ending, now, STOP),
        plan.escalate(ending, [], now, STOP),
        plan.escalate(ending, [Place("worker-0", pid=1)], now, STOP),
    ):
        assert order.index(after.phase) >= order.index(ending.phase)
        assert after is ending or after.phase is not ending.phase


@pytest.mark.parametrize(("configured", "cpus", "count"), [(None, 1, 1), (None, 4, 4), (None, 64, 4), (7, 2, 7)])
def test_a_worker_a_cpu_but_not_too_many(configured: int | None, cpus: int, count: int) -> None:
    assert plan.worker_count(configured, cpus) == count


@given(st.sets(st.integers(0, 12)), st.integers(0, 8))
def test_rows_are_the_first_that_are_nobodys(taken: set[int], count: int) -> None:
    rows = plan.free_rows(taken, count)
    assert len(rows) == count
    assert sorted(rows) == list(rows)
    assert not taken & set(rows)
    assert set(range(max(rows, default=0))) <= taken | set(rows)


@pytest.mark.parametrize(
    ("threads", "taking", "most", "each"),
    [(1, 4, 64, 4), (4, 4, 64, 4), (16, 8, 64, 4), (16, 8, 63, 3), (64, 8, 64, 2), (1, 1, 64, 2), (100, 9, 64, 2)],
)
def test_each_thread_has_a_channel_to_each_taker_as_far_as_they_go_and_two_at_least(
    threads: int, taking: int, most: int, each: int
) -> None:
    assert plan.channels_each(threads, taking, most) == each


def test_places_have_names_that_another_version_knows() -> None:
    assert plan.CONTROL == "control"
    assert plan.worker_name(12) == "worker-12"
    assert plan.worker_index("worker-12") == 12


class _Supervisor(RuleBasedStateMachine):
    """A run as the supervisor's loop does it, over children that die when they like.

    Children obey TERM or not, as drawn; nobody survives KILL.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.places: dict[str, Place] = {}
        self.ending = Ending()
        self.pid = 0
        self.names: set[str] = set()

    @initialize(workers=st.integers(1, 4))
    def start(self, workers: int) -> None:
        self.names = {CONTROL, *(plan.worker_name(index) for index in range(workers))}
        self.places = {name: Place(name) for name in self.names}
        self.spawn()

    def spawn(self) -> None:
        for place in plan.to_spawn(self.places.values(), self.ending.phase, self.now):
            self.pid += 1
            self.places[place.name] = plan.started(place, self.pid, self.now)

    def turn(self) -> None:
        """What follows every wake-up."""
        escalated = plan.escalate(self.ending, self.places.values(), self.now, STOP)
        if escalated.phase is Phase.KILLING and escalated is not self.ending:
            self.kill_all()
        self.ending = escalated
        self.spawn()

    def kill_all(self) -> None:
        for place in self.living():
            self.places[place.name] = plan.died(place, self.now)

    def living(self) -> list[Place]:
        return [place for place in self.places.values() if place.pid is not None]

    @property
    def over(self) -> bool:
        return plan.over(self.ending, self.places.values(), self.now)

    @rule(pause=pauses)
    def wait(self, pause: float) -> None:
        self.now += pause
        self.turn()

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def a_child_dies(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.living()))
        self.places[place.name] = plan.died(place, self.now)
        self.turn()

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def a_child_is_ready(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.living()))
        self.places[place.name] = plan.ready(place)

    @rule(timeout=st.none() | pauses)
    def stop_gracefully(self, timeout: float | None) -> None:
        self.ending = plan.stop_gracefully(self.ending, timeout, self.now)
        self.turn()

    @rule()
    def stop_fast(self) -> None:
        self.ending = plan.stop_fast(self.ending, self.now, STOP)
        self.turn()

    @invariant()
    def no_place_is_lost(self) -> None:
        assert {place.name for place in self.places.values()} == self.names
        assert all(name == place.name for name, place in self.places.items())

    @invariant()
    def while_running_every_place_is_filled_or_waits_for_its_time(self) -> None:
        if self.ending.phase is Phase.RUNNING:
            assert not self.over
            assert all(place.pid or self.now < place.spawn_at <= self.now + LONGEST_PAUSE for place in self.all())

    def all(self) -> list[Place]:
        return list(self.places.values())

    @invariant()
    def it_drains_as_long_as_a_worker_lives_and_stops_as_long_as_anybody_does(self) -> None:
        workers = [place for place in self.living() if place.name != CONTROL]
        assert self.ending.phase is not Phase.DRAINING or workers
        assert self.over == (self.ending.phase in (Phase.STOPPING, Phase.KILLING) and not self.living())

    def teardown(self) -> None:
        """A fast stop always comes to its end by looking only when :func:`plan.next_look` says so."""
        if not self.names:
            return
        self.ending = plan.stop_fast(self.ending, self.now, STOP)
        while not self.over:
            due = plan.next_look(self.places.values(), self.ending)
            assert due is not None
            self.now = max(self.now, due)
            self.turn()


TestSupervisor = _Supervisor.TestCase
TestSupervisor.settings = settings(max_examples=50, deadline=None)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_graceful_stop_becomes_fast_and_then_kills(begun: float, timeout: float) -> None:
    stuck = [Place(CONTROL, pid=1), Place("worker-0", pid=2)]
    ending = plan.stop_gracefully(Ending(), timeout, begun)
    phases_seen = [ending.phase]
    while not plan.over(ending, stuck, now := ending.deadline or 0.0):
        ending = plan.escalate(ending, stuck, now, STOP)
        phases_seen.append(ending.phase)
    assert phases_seen == [Phase.DRAINING, Phase.STOPPING, Phase.KILLING]


def test_each_phase_of_a_stop_has_its_time() -> None:
    stuck = [Place(CONTROL, pid=1), Place("worker-0", pid=2)]
    assert Ending() == Ending(Phase.RUNNING, None)
    draining = plan.stop_gracefully(Ending(Phase.HANDING_OVER), 30.0, 100.0)
    assert draining == Ending(Phase.DRAINING, 130.0)
    assert plan.escalate(draining, stuck, 129.9, STOP) is draining
    stopping = plan.escalate(draining, stuck, 130.0, STOP)
    assert stopping == Ending(Phase.STOPPING, 130.0 + STOP)
    assert plan.escalate(stopping, stuck, 129.9 + STOP, STOP) is stopping
    killing = plan.escalate(stopping, stuck, 130.0 + STOP, STOP)
    assert killing == Ending(Phase.KILLING, 130.0 + 2 * STOP)
    assert plan.escalate(killing, stuck, 130.0 + 2 * STOP, STOP) is killing
    assert not plan.over(killing, stuck, 129.9 + 2 * STOP)
    assert plan.over(killing, stuck, 130.0 + 2 * STOP)


def test_it_drains_until_the_last_worker_has_gone() -> None:
    draining = plan.stop_gracefully(Ending(), 30.0, 100.0)
    control, one, other = Place(CONTROL, pid=1), Place("worker-0"), Place("worker-1", pid=2)
    assert plan.escalate(draining, [control, one, other], 101.0, STOP) is draining
    gone = replace(other, pid=None)
    assert plan.escalate(draining, [control, one, gone], 101.0, STOP) == Ending(Phase.STOPPING, 101.0 + STOP)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.HANDING_OVER])
def test_workers_that_have_all_died_stop_nothing(phase: Phase) -> None:
    ending = Ending(phase)
    assert plan.escalate(ending, [Place(CONTROL, pid=1), Place("worker-0")], 100.0, STOP) is ending


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.STOPPING, Phase.KILLING])
def test_being_told_again_to_stop_gracefully_gives_no_more_time(phase: Phase) -> None:
    ending = Ending(phase, 50.0)
    assert plan.stop_gracefully(ending, 30.0, 100.0) is ending


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.KILLING])
def test_being_told_again_to_stop_gives_no_more_time(phase: Phase) -> None:
    ending = Ending(phase, 50.0)
    assert plan.stop_fast(ending, 100.0, STOP) is ending


@pytest.mark.parametrize("phase", Phase)
def test_it_is_over_when_a_fast_stop_has_left_nobody(phase: Phase) -> None:
    stopped = phase in (Phase.STOPPING, Phase.KILLING)
    assert plan.over(Ending(phase), [Place(CONTROL), Place("worker-0")], 1.0) is stopped
    assert not plan.over(Ending(phase), [Place(CONTROL), Place("worker-0", pid=2)], 1.0)


def test_a_graceful_stop_without_a_limit_waits_for_workers_for_ever_and_for_control_not_at_all() -> None:
    ending = plan.stop_gracefully(Ending(), None, 1.0)
    control, worker = Place(CONTROL, pid=1), Place("worker-0", pid=2)
    assert plan.escalate(ending, [control, worker], 1e12, STOP) is ending
    assert plan.next_look([control, worker], ending) is None
    assert plan.escalate(ending, [control, Place("worker-0")], 2.0, STOP).phase is Phase.STOPPING
