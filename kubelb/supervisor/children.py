"""Forks children and learns of their deaths. The only place where the project forks.

A child gets one end of a channel and what it needs of the supervisor's memory and sockets; all else that the
supervisor has open it closes first. It never returns from :func:`spawn`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Protocol

from kubelb import log
from kubelb.supervisor.signals import blocked
from kubelb.wire.channel import Channel


class Closable(Protocol):
    def close(self) -> None: ...


def spawn(
    run: Callable[[Channel], None],
    name: str,
    log_level: str,
    forget: Callable[[], None],
    not_for_it: Iterable[Closable],
) -> tuple[int, Channel]:
    """Fork a child that does ``run(channel)`` and ends. Gives its pid and the supervisor's end of the channel.

    In the child ``forget`` undoes the supervisor's signals, and ``not_for_it`` is closed.
    """
    ours, theirs = Channel.pair()
    with blocked():
        pid = os.fork()
        if pid == 0:
            forget()
    if pid == 0:
        status = 1
        try:
            log.set_up(log_level, name)
            for thing in (ours, *not_for_it):
                thing.close()
            run(theirs)
            status = 0
        except Exception:
            log.get().exception("internal_error")
        finally:
            os._exit(status)
    theirs.close()
    return pid, ours


def reap() -> list[tuple[int, str]]:
    """The children that have died since the last call, each with how."""
    dead: list[tuple[int, str]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead.append((pid, _describe(status)))


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name
