"""A signal that does not interrupt the main thread's wait is heard all the same."""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Iterator

import psutil
import pytest

from kubelb.signals import SignalPipe

DEADLINE = 60.0


@pytest.fixture
def pipe() -> Iterator[SignalPipe]:
    with SignalPipe([signal.SIGUSR1, signal.SIGUSR2]) as pipe:
        yield pipe


def test_one_that_reaches_another_thread_wakes_the_main_thread(pipe: SignalPipe) -> None:
    """Python would run a handler as soon as the main thread runs again, which waits for that."""
    waiting = threading.Event()

    def suffer() -> None:
        waiting.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=suffer)
    thread.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        waiting.set()
        assert select.select([pipe], [], [], DEADLINE)[0]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        thread.join()
    assert pipe.receive() == [signal.SIGUSR1]


def test_signals_and_nudges_come_in_order_once(pipe: SignalPipe) -> None:
    assert pipe.receive() == []
    signal.raise_signal(signal.SIGUSR2)
    pipe.nudge()
    signal.raise_signal(signal.SIGUSR1)
    assert pipe.receive() == [signal.SIGUSR2, 0, signal.SIGUSR1]
    assert pipe.receive() == []


def test_afterwards_all_is_as_it_was() -> None:
    handler = signal.getsignal(signal.SIGUSR1)
    fds = psutil.Process().num_fds()
    with SignalPipe([signal.SIGUSR1]):
        assert signal.getsignal(signal.SIGUSR1) is not handler
    assert signal.getsignal(signal.SIGUSR1) is handler
    assert signal.set_wakeup_fd(-1) == -1
    assert psutil.Process().num_fds() == fds
