"""The supervisor's signals: what each asks for, and how it is kept from those it forks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from kubelb.signals import SignalPipe

FAST = (signal.SIGTERM, signal.SIGINT)
GRACEFUL = signal.SIGQUIT
RELOAD = signal.SIGHUP
REOPEN = signal.SIGUSR1
UPGRADE = signal.SIGUSR2
HEARD = (*FAST, GRACEFUL, RELOAD, REOPEN, UPGRADE, signal.SIGCHLD)


def forget(pipe: SignalPipe) -> None:
    """In a child: TERM ends it at once, what a terminal sends to the whole group is the supervisor's affair."""
    pipe.close()
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, GRACEFUL, RELOAD, REOPEN, UPGRADE):
        signal.signal(number, signal.SIG_IGN)


def ignore_from_now_on() -> None:
    """The process has done its work, and its exit status says how. The interpreter's end restores the default actions
    of what is handled, and a signal that comes then would be the status instead."""
    for number in (*FAST, GRACEFUL, RELOAD, REOPEN, UPGRADE):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def blocked() -> Iterator[None]:
    """No signal is delivered within: none reaches a child that still has the supervisor's handlers, which would
    swallow it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
