from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fleet.cores import Cores


def erlang_c(cores: int, load: float) -> float:
    """The probability that an arrival waits in M/M/c; ``load`` in Erlang."""
    top = load**cores / math.factorial(cores) * cores / (cores - load)
    return top / (sum(load**k / math.factorial(k) for k in range(cores)) + top)


def test_two_cores_by_hand() -> None:
    cores = Cores(2)
    assert [cores.take(0, 3), cores.take(0, 1), cores.take(0.5, 1), cores.take(2.5, 1)] == [3, 1, 2, 3.5]
    assert cores.wait(2.75) == pytest.approx(0.25)
    assert cores.wait(10) == 0


@pytest.mark.parametrize(("count", "busy"), [(1, 0.5), (4, 0.8), (32, 0.95)])
def test_the_mean_wait_is_that_of_an_m_m_c_queue(count: int, busy: float) -> None:
    rng, service = random.Random(7), 0.01
    rate = busy * count / service
    cores, now, waited, arrivals = Cores(count), 0.0, 0.0, 400_000
    for _ in range(arrivals):
        now += rng.expovariate(rate)
        waited += cores.wait(now)
        cores.take(now, rng.expovariate(1 / service))
    expected = erlang_c(count, busy * count) * service / (count * (1 - busy))
    assert waited / arrivals == pytest.approx(expected, rel=0.1)


WORK = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=40)
"""Seconds since the arrival before, and of work; whole ones, which floats add exactly."""


@given(st.integers(1, 5), WORK)
def test_who_comes_first_is_served_first_and_no_core_idles_while_somebody_waits(
    count: int, work: list[tuple[int, int]]
) -> None:
    cores, now = Cores(count), 0.0
    done: list[tuple[float, float, float]] = []
    for pause, seconds in work:
        now += pause
        end = cores.take(now, seconds)
        done.append((now, end - seconds, end))
    begins = [begin for _, begin, _ in done]
    assert begins == sorted(begins)
    for arrival, begin, _ in done:
        assert begin >= arrival
        assert busy_at(done, begin) <= count
        if begin > arrival:
            assert busy_at(done, (arrival + begin) / 2) == count


def busy_at(done: list[tuple[float, float, float]], moment: float) -> int:
    return sum(begin <= moment < end for _, begin, end in done)
