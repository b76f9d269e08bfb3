"""What the system withholds from one process of the proxy for a while: descriptors, memory, its turn on a CPU.

A shortage lasts while its context does; then all is as before.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import Final, NamedTuple

import psutil

from tests.support import debian

CALLS: Final[Mapping[str, Sequence[str]]] = {
    "splice": ("ENOMEM",),
    "pipe2": ("EMFILE", "ENFILE", "ENOMEM"),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "accept4": ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EINTR"),
    "socket": ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"),
    "connect": ("EADDRNOTAVAIL", "ENOBUFS", "EPERM"),
    "sendmsg,sendto": ("ENOBUFS", "ENOMEM", "EINTR"),
    "recvmsg": ("ENOMEM", "EINTR"),
    "setsockopt": ("ENOBUFS", "ENOMEM"),
    "memfd_create": ("EMFILE", "ENFILE", "ENOMEM"),
    "eventfd2": ("EMFILE", "ENFILE", "ENOMEM"),
}
"""System calls, with the errnos that their manual pages name for a shortage."""
_WHEN: Final = ("1+", "1+2", "1+7", "2..4")
"""Which calls of each thread fail: all, each second, each seventh, a few."""
_ATTACHED: Final = "attached"
_STANDING: Final = 0.05
"""Seconds in which each thread of a process that is stopped has come out of its call."""


class Injection(NamedTuple):
    calls: str
    error: str
    when: str

    def __str__(self) -> str:
        return f"{self.calls} fails with {self.error} ({self.when})"


def any_injection(chance: Random) -> Injection:
    calls = chance.choice(list(CALLS))
    return Injection(calls, chance.choice(CALLS[calls]), chance.choice(_WHEN))


@contextmanager
def injected(process: psutil.Process, injection: Injection) -> Iterator[None]:
    """Calls of the process, and of what it forks meanwhile, fail."""
    calls, error, when = injection
    command = [debian.provided("strace"), "-f", "-e", f"trace={calls}", "-p", str(process.pid)]
    command += ["-o", "/dev/null", "-e", f"inject={calls}:error={error}:when={when}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        assert _ATTACHED in strace.stderr.readline()
        try:
            yield
        finally:
            with all_stopped(process):
                strace.terminate()
                strace.stderr.read()


@contextmanager
def all_stopped(process: psutil.Process) -> Iterator[None]:
    """Within, it stands still with all that it has started. A call that strace lets go of amid its way in would fail
    with ENOSYS."""
    with ExitStack() as stack:
        with suppress(psutil.NoSuchProcess):
            for one in [process, *process.children(recursive=True)]:
                stack.enter_context(stopped(one))
        time.sleep(_STANDING)
        yield


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()
