"""What travels between two processes arrives whole, whatever its size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kubelb.wire.channel import AT_MOST, Channel, close_all
from kubelb.wire.messages import Configured, Listen

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def a_pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("size", [0, 1 << 16, 1 << 20, 1 << 24])
def test_a_message_of_any_size(size: int) -> None:
    message = Configured("x" * size, None)
    with a_pair() as (ours, theirs):
        assert ours.send(message)
        assert theirs.receive() == message
        assert theirs.offer(message)
        assert ours.receive() == message


@pytest.mark.parametrize("size", [0, 1 << 24])
def test_with_all_its_descriptors(size: int) -> None:
    message = Listen(("x" * size,))
    with a_pair() as (ours, theirs):
        read, write = os.pipe()
        assert ours.send(message, [write] * AT_MOST)
        received, fds = theirs.receive_with_fds()
        assert (received, len(fds)) == (message, AT_MOST)
        os.write(fds[-1], b"the same")
        assert os.read(read, 100) == b"the same"
        close_all([read, write, *fds])


def test_there_is_room_for_many_large_ones() -> None:
    message = Configured("x" * (1 << 20), None)
    with a_pair() as (ours, theirs):
        assert all(ours.send(message) for _ in range(50))
        assert all(theirs.receive() == message for _ in range(50))
