from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kubelb.balance.passive import Streak, after_failure, after_success, failing, is_trial

_SECOND = 10**9
_WINDOW = 10 * _SECOND

workers = st.integers(0, 3)
pauses = st.sampled_from([1, _SECOND, _WINDOW - 1, _WINDOW, _WINDOW + 1, 5 * _WINDOW]) | st.integers(1, 2 * _WINDOW)


class _Workers(RuleBasedStateMachine):
    """Four workers that share what they know of one server, as the data plane does it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100 * _WINDOW
        self.streaks = [Streak()] * 4
        self.max_fails = 1

    @initialize(max_fails=st.integers(1, 4))
    def configure(self, max_fails: int) -> None:
        self.max_fails = max_fails

    @property
    def failing(self) -> bool:
        return failing(self.streaks, self.max_fails, _WINDOW, self.now)

    @property
    def trial_due(self) -> bool:
        return is_trial(self.streaks, self.max_fails, _WINDOW, self.now)

    def begin(self, worker: int) -> None:
        if self.trial_due:
            self.streaks[worker] = self.streaks[worker]._replace(tried_at=self.now)

    def fail(self, worker: int) -> None:
        latest = max(streak.passed_at for streak in self.streaks)
        self.streaks[worker] = after_failure(self.streaks[worker], latest, self.now)

    def succeed(self, worker: int, begun: int) -> None:
        own = self.streaks[worker]
        self.streaks[worker] = after_success(own, self.streaks, self.max_fails, _WINDOW, begun)


class _LikeNginx(_Workers):
    """Dials that end at once: the workers together judge as one nginx worker does."""

    def __init__(self) -> None:
        super().__init__()
        self.nginx = _NginxPeer()

    @rule(pause=pauses)
    def wait(self, pause: int) -> None:
        self.now += pause

    @precondition(lambda self: not self.failing)
    @rule(worker=workers, works=st.booleans())
    def dial(self, worker: int, works: bool) -> None:
        self.now += 1
        self.begin(worker)
        self.nginx.get(self.now)
        if works:
            self.succeed(worker, self.now)
            self.nginx.succeeded()
        else:
            self.fail(worker)
            self.nginx.failed(self.now)

    @invariant()
    def same_judgement(self) -> None:
        assert self.failing == (not self.nginx.usable(self.now, self.max_fails))


class _NginxPeer:
    """One peer of ngx_stream_upstream_round_robin.c, with a finer clock."""

    def __init__(self) -> None:
        self.fails = self.accessed = self.checked = 0

    def usable(self, now: int, max_fails: int) -> bool:
        return not (self.fails >= max_fails and now - self.checked < _WINDOW)

    def get(self, now: int) -> None:
        if now - self.checked >= _WINDOW:
            self.checked = now

    def failed(self, now: int) -> None:
        self.fails += 1
        self.accessed = self.checked = now

    def succeeded(self) -> None:
        if self.accessed < self.checked:
            self.fails = 0


class _Dial(NamedTuple):
    worker: int
    begun: int


class _DialsUnderWay(_Workers):
    """Dials that take their time and overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.dials: list[_Dial] = []
        self.trial_at: int | None = None
        """When the trial that has had no answer yet was begun."""

    @rule(pause=pauses)
    def wait(self, pause: int) -> None:
        self.now += pause

    @precondition(lambda self: not self.failing)
    @rule(worker=workers)
    def dial(self, worker: int) -> None:
        self.now += 1
        if self.trial_due:
            assert self.trial_at is None or self.now - self.trial_at >= _WINDOW
            self.trial_at = self.now
        self.begin(worker)
        self.dials.append(_Dial(worker, self.now))
        assert self.failing == (self.trial_at == self.now)

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), works=st.booleans())
    def answer(self, data: st.DataObject, works: bool) -> None:
        self.now += 1
        dial = self.dials.pop(data.draw(st.integers(0, len(self.dials) - 1)))
        if works:
            was_failing, last_failure = self.failing, max(streak.failed_at for streak in self.streaks)
            self.succeed(dial.worker, dial.begun)
            if dial.begun > last_failure:
                assert not (was_failing and self.failing)
        else:
            self.fail(dial.worker)
        if self.trial_at is not None and dial.begun >= self.trial_at:
            self.trial_at = None

    @rule(data=st.data())
    def break_down(self, data: st.DataObject) -> None:
        for _ in range(self.max_fails):
            self.now += 1
            self.fail(data.draw(workers))
        assert self.failing

    @rule(worker=workers, pause=pauses)
    def recover(self, worker: int, pause: int) -> None:
        self.now += _WINDOW + pause
        assert not self.failing
        self.begin(worker)
        self.succeed(worker, self.now)
        self.trial_at = None
        assert not self.failing
        assert not self.trial_due

    @invariant()
    def a_trial_is_due_only_when_not_failing(self) -> None:
        assert not (self.failing and self.trial_due)


TestLikeNginx = _LikeNginx.TestCase
TestDialsUnderWay = _DialsUnderWay.TestCase


def test_max_fails_0_is_never_left_out() -> None:
    streaks = [Streak(fails=99, failed_at=5)]
    assert not failing(streaks, 0, _WINDOW, 6)
    assert not is_trial(streaks, 0, _WINDOW, 6 + _WINDOW)


def test_nothing_is_known_where_the_shared_words_are_zero() -> None:
    assert Streak() == (0, 0, 0, 0)
    for streaks in ([], [Streak()]):
        assert not failing(streaks, 1, _WINDOW, 5)
        assert not is_trial(streaks, 1, _WINDOW, 5 + _WINDOW)


@given(st.integers(1, 5), st.integers(1, 5), st.just(0) | pauses)
def test_one_with_too_many_failures_is_left_out_until_its_trial_is_due(
    max_fails: int, fails: int, since: int
) -> None:
    streaks = [Streak(fails=fails, failed_at=_SECOND), Streak()]
    now = _SECOND + since
    enough = fails >= max_fails
    assert failing(streaks, max_fails, _WINDOW, now) is (enough and since < _WINDOW)
    assert is_trial(streaks, max_fails, _WINDOW, now) is (enough and since >= _WINDOW)


@pytest.mark.parametrize(("fails", "is_due"), [(1, False), (2, True)])
def test_a_trial_is_due_from_the_very_end_of_the_window(fails: int, is_due: bool) -> None:
    streaks = [Streak(fails=fails, failed_at=_SECOND)]
    assert not is_trial(streaks, 2, _WINDOW, _SECOND + _WINDOW - 1)
    assert is_trial(streaks, 2, _WINDOW, _SECOND + _WINDOW) is is_due
    assert not failing(streaks, 2, _WINDOW, _SECOND + _WINDOW)


def test_a_success_without_failures_before_it_writes_nothing() -> None:
    assert after_success(Streak(), [Streak(), Streak()], 1, _WINDOW, 5 * _WINDOW) == Streak()


def test_a_success_after_a_window_without_failures_voids_those_before_it() -> None:
    own = Streak(fails=1, failed_at=_SECOND)
    assert after_success(own, [own], 2, _WINDOW, _SECOND + _WINDOW - 1) == own
    begun = _SECOND + _WINDOW
    assert after_success(own, [own], 2, _WINDOW, begun) == Streak(0, _SECOND, 0, begun)


def test_failures_of_a_server_that_is_never_left_out_stay_for_the_window() -> None:
    """A reload may bring it a ``max_fails``."""
    own = Streak(fails=7, failed_at=_SECOND)
    assert after_success(own, [own], 0, _WINDOW, 2 * _SECOND) == own


def test_a_failure_at_the_instant_that_a_success_was_begun_is_void() -> None:
    failed, passed = Streak(fails=2, failed_at=_SECOND), Streak(passed_at=_SECOND)
    assert not failing([failed, passed], 1, _WINDOW, 2 * _SECOND)
    assert after_failure(failed, passed.passed_at, 2 * _SECOND).fails == 1
    assert after_success(failed, [failed, passed], 1, _WINDOW, 2 * _SECOND).fails == 0


def test_the_last_resort_that_works_is_back_at_once() -> None:
    own = after_failure(Streak(), 0, _SECOND)
    assert failing([own], 1, _WINDOW, 2 * _SECOND)
    assert after_success(own, [own], 1, _WINDOW, 2 * _SECOND) == Streak(0, _SECOND, 0, 2 * _SECOND)


def test_a_dial_begun_before_the_failure_proves_nothing() -> None:
    other, own = after_failure(Streak(), 0, 5 * _SECOND), Streak()
    after = after_success(own, [own, other], 1, _WINDOW, 4 * _SECOND)
    assert failing([after, other], 1, _WINDOW, 6 * _SECOND)


def test_failures_that_another_thread_voided_are_forgotten_with_the_next_success() -> None:
    own = after_failure(Streak(), 0, _SECOND)
    other = after_success(Streak(), [own, Streak()], 1, _WINDOW, 2 * _SECOND)
    assert not failing([own, other], 1, _WINDOW, 3 * _SECOND)
    assert after_success(own, [own, other], 1, _WINDOW, 3 * _SECOND).fails == 0
    assert after_failure(own, other.passed_at, 3 * _SECOND).fails == 1
