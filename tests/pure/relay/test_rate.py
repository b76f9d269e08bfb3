"""What a limited flow reads, by nginx's measure: never too much, and too little only if nobody looked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubelb.relay.rate import due_after, step_size

rates = st.integers(1, 10**10)
_TICK = 1 / 64


def _reads(rate: int, late: list[float], supply: list[int]) -> list[tuple[float, int]]:
    """When how much is read, by who wakes up so much too late each time; ``supply`` is what is there then."""
    due = now = 0.0
    reads: list[tuple[float, int]] = []
    for delay, there in zip(late, supply, strict=False):
        if due >= now:
            now = due + delay
        count = min(step_size(rate), there)
        reads.append((now, count))
        due = due_after(rate, due, now, count)
    return reads


_delays = st.lists(st.floats(0, 3) | st.floats(0, _TICK), min_size=1, max_size=60)


@given(rates, _delays, st.lists(st.integers(0, 100_000), min_size=60, max_size=60))
def test_never_more_than_nginx(rate: int, late: list[float], supply: list[int]) -> None:
    moved = 0
    for now, count in _reads(rate, late, supply):
        moved += count
        assert moved <= rate * (now + 1) * (1 + 1e-9)


@given(rates, _delays, st.lists(st.integers(0, 100_000), min_size=60, max_size=60))
def test_no_burst_after_silence(rate: int, late: list[float], supply: list[int]) -> None:
    """From any moment on: a read, and what it was late for."""
    reads = _reads(rate, late, supply)
    for first in range(len(reads)):
        start, moved = reads[first][0], 0
        for now, count in reads[first:]:
            moved += count
            assert moved <= (rate * (now - start + 1 / 16) + step_size(rate)) * (1 + 1e-9) + 1


@given(rates, st.lists(st.floats(0, 2 * _TICK), min_size=1, max_size=200))
def test_coarse_timers_cost_nothing(rate: int, late: list[float]) -> None:
    reads = _reads(rate, late, [1 << 30] * len(late))
    before = sum(count for _, count in reads[:-1])
    assert before >= rate * (reads[-1][0] - 2 * _TICK) * (1 - 1e-9)


@given(rates)
def test_a_step_is_never_empty(rate: int) -> None:
    assert 1 <= step_size(rate) <= rate
