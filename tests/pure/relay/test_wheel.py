from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubelb.relay.wheel import Wheel

TICK = 1 / 64
steps = st.sampled_from([0.0, TICK / 2, TICK, 2 * TICK, 1.0, 600.0]) | st.floats(0, 2000)


class _Entry:
    wheel_key = 0


class _Owner(RuleBasedStateMachine):
    """Whoever puts entries in and takes out what has come up, with a model of what must be in there."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel: Wheel[_Entry] = Wheel(TICK)
        self.now = 1000.0
        self.standing: dict[_Entry, float] = {}
        self.latest: dict[_Entry, float] = {}
        """When each has to have come up."""
        self.out: list[_Entry] = []

    @rule(after=steps)
    def put_new(self, after: float) -> None:
        self.put(_Entry(), after)

    @precondition(lambda self: self.out)
    @rule(after=steps, data=st.data())
    def put_again(self, after: float, data: st.DataObject) -> None:
        self.put(self.out.pop(data.draw(st.integers(0, len(self.out) - 1))), after)

    def put(self, entry: _Entry, after: float) -> None:
        self.wheel.put(entry, self.now + after, self.now)
        self.standing[entry] = self.now + after
        self.latest[entry] = self.now + after + max(TICK, after / 64)

    @precondition(lambda self: self.standing)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        entry = list(self.standing)[data.draw(st.integers(0, len(self.standing) - 1))]
        self.wheel.discard(entry)
        del self.standing[entry]
        self.out.append(entry)

    @precondition(lambda self: self.standing)
    @rule(after=steps, data=st.data())
    def move(self, after: float, data: st.DataObject) -> None:
        self.put(list(self.standing)[data.draw(st.integers(0, len(self.standing) - 1))], after)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def discard_one_that_is_out(self, data: st.DataObject) -> None:
        self.wheel.discard(self.out[data.draw(st.integers(0, len(self.out) - 1))])

    @rule(step=steps)
    def look(self, step: float) -> None:
        self.now += step
        for entry in self.wheel.due(self.now):
            assert self.standing.pop(entry) <= self.now
            self.out.append(entry)
        assert all(self.latest[entry] > self.now for entry in self.standing)

    @rule()
    def look_when_it_says(self) -> None:
        due = self.wheel.next_due()
        if due is not None:
            self.look(max(0.0, due - self.now))

    @invariant()
    def it_says_when_to_look(self) -> None:
        due = self.wheel.next_due()
        if self.standing:
            assert due is not None
            assert due <= min(self.latest[entry] for entry in self.standing)

    def teardown(self) -> None:
        self.look(5000.0)
        assert not self.standing
        assert self.wheel.next_due() is None


@given(st.lists(st.sampled_from([0.0, TICK, 1.0]), min_size=2, max_size=9), st.randoms(use_true_random=False))
def test_what_is_discarded_while_others_come_up_does_not(deadlines: list[float], rng: random.Random) -> None:
    """One that comes up may be the end of another that is due at the same moment."""
    wheel: Wheel[_Entry] = Wheel(TICK)
    standing = [_Entry() for _ in deadlines]
    for entry, deadline in zip(standing, deadlines, strict=True):
        wheel.put(entry, deadline, 0.0)
    for entry in wheel.due(2.0):
        standing.remove(entry)
        for other in rng.sample(standing, rng.randint(0, len(standing))):
            standing.remove(other)
            wheel.discard(other)
    assert not standing


def test_what_comes_and_goes_leaves_few_buckets_behind() -> None:
    wheel: Wheel[_Entry] = Wheel(TICK)
    now, looks = 0.0, 0
    while now < 1200:
        entry = _Entry()
        wheel.put(entry, now + 600, now)
        wheel.discard(entry)
        now += TICK
        due = wheel.next_due()
        if due is not None and due <= now:
            assert not list(wheel.due(now))
            looks += 1
    assert looks <= 128
    buckets = 0
    while (due := wheel.next_due()) is not None:
        assert not list(wheel.due(due))
        buckets += 1
    assert buckets <= 128


TestOwner = _Owner.TestCase
TestOwner.settings = settings(max_examples=50, deadline=None)
