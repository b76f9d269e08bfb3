from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.relay.copy import CopyBuffer
from kubelb.relay.pipes import SHARED, Pool, Sizing


@settings(deadline=None)
@given(st.integers(1, 64), st.binary(max_size=128))
def test_what_it_starts_with_is_held_whatever_its_size(size: int, data: bytes) -> None:
    buffer = CopyBuffer(size, data)
    assert buffer.held == len(data)
    assert buffer.size == max(size, len(data))
    assert buffer.salvage() == data
    assert buffer.held == 0
    assert buffer.salvage() == b""


def test_a_pool_that_copies_hands_out_what_was_given_back() -> None:
    pool = Pool(SHARED, zero_copy=False)
    buffer = pool.take()
    assert isinstance(buffer, CopyBuffer)
    assert buffer.size == SHARED.step
    pool.give(buffer)
    assert pool.take() is buffer


def test_a_buffer_with_bytes_in_it_is_never_handed_out_again() -> None:
    pool = Pool(Sizing(room=8, step=8), zero_copy=False)
    pool.give(CopyBuffer(8, b"secret"))
    assert pool.take().held == 0


def test_a_buffer_made_for_longer_steps_is_not_kept() -> None:
    pool = Pool(Sizing(room=8, step=8), zero_copy=False)
    pool.give(CopyBuffer(64))
    assert pool.take().size == 8


@settings(deadline=None)
@given(st.integers(1, 40))
def test_only_a_few_are_kept(count: int) -> None:
    pool = Pool(Sizing(room=8, step=8), zero_copy=False)
    given_back = [pool.take() for _ in range(count)]
    for buffer in given_back:
        pool.give(buffer)
    taken = [pool.take() for _ in range(count)]
    assert sum(buffer in given_back for buffer in taken) == min(count, 4)
    assert len({id(buffer) for buffer in taken}) == count
