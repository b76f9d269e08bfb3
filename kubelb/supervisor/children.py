"""Forks children and learns of their deaths. The only place where the project forks.

A child gets one end of a channel and what it needs of the supervisor's memory and sockets; all else that the
supervisor has open it closes first. It never returns from :func:`spawn`.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kubelb import log
from kubelb.own_limits import EXHAUSTED, own_reason
from kubelb.reasons import number_of, reason_of
from kubelb.signals import SignalPipe
from kubelb.supervisor.image import Image
from kubelb.supervisor.signals import blocked, forget
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import MessageSet

H = TypeVar("H")
T = TypeVar("T")

_PF_EXITING = 0x4
"""Among the flags of a process, include/linux/sched.h."""


class Closable(Protocol):
    def close(self) -> None: ...


def spawn(
    run: Callable[[Channel[T]], None],
    name: str,
    hears: MessageSet[H],
    tells: MessageSet[T],
    signals: SignalPipe,
    not_for_it: Iterable[Closable],
) -> tuple[int, Channel[H]]:
    """Fork a child that does ``run(channel)`` and ends. Gives its pid and the supervisor's end of the channel, which
    ``hears`` and ``tells`` these.

    In the child the supervisor's ``signals`` are undone, and ``not_for_it`` is closed.
    """
    ours, theirs = Channel.pair(hears, tells)
    with blocked():
        pid = os.fork()
        if pid == 0:
            forget(signals)
    if pid == 0:
        status = 1
        try:
            log.set_up(name)
            for thing in (ours, *not_for_it):
                thing.close()
            run(theirs)
            status = 0
        except Exception as error:
            _say_end(error)
        finally:
            os._exit(status)
    theirs.close()
    return pid, ours


def _say_end(error: Exception) -> None:
    """Of a child that cannot go on."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        log.get().error("own_limit", reason=own_reason(number_of(error)), effect="this process ends")
    else:
        log.get().error("internal_error", exc_info=error)


def hear(selector: selectors.BaseSelector, pid: int, channel: Channel[Any], heard: Callable[[], object]) -> None:
    """Have ``heard`` called when a child that has just been started says something.

    Raises :class:`OSError` where no watch is left for that (fs.epoll.max_user_watches): it is ended then, and its
    channel closed.
    """
    try:
        selector.register(channel, selectors.EVENT_READ, heard)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        channel.close()
        raise


def start_apart(image: Image, environment: Mapping[str, str], keep: int) -> None:
    """Start a program as nobody's child: its parent is init, or systemd, which would call another's child alien.

    It finds ``environment`` added to the image's own, and ``keep`` open. Where it cannot be started nobody has that.
    """
    with blocked():
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            if os.fork():
                os._exit(0)
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        with suppress(OSError):
            os.chdir(image.directory)
        os.set_inheritable(keep, True)
        os.execve(image.program, image.arguments, {**image.environment, **environment})
    except OSError as error:
        log.get().error("program_not_started", program=image.program, reason=reason_of(error))
    finally:
        os._exit(1)


def to_background() -> Callable[[], None]:
    """Go on as a child in a session of its own, without a terminal's input and output, as nginx's ``daemon on`` does.

    The process that was started ends with 0 once the function that this gives is called, or with this one's exit
    status if it ends before. (``ngx_daemon``, src/os/unix/ngx_daemon.c: nginx does not wait.)
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.read(read, 1):
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    os.close(read)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.close(null)

    def ready() -> None:
        with suppress(BrokenPipeError):  # Nobody may have waited so long.
            os.write(write, b"\n")
        os.close(write)

    return ready


def reap() -> Iterator[tuple[int, str]]:
    """The children that have died, each with how. Its number is no other process's until the next is asked for."""
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None:
            return
        yield dead.si_pid, _describe(dead)
        os.waitpid(dead.si_pid, 0)


def is_ending(pid: int) -> bool:
    """Whether a child that has closed all it had open is on its way out; yes, where nobody can tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] in "ZX" or bool(int(fields[6]) & _PF_EXITING)
    except (OSError, ValueError, IndexError):
        return True


def _describe(dead: os.waitid_result) -> str:
    if dead.si_code == os.CLD_EXITED:
        return f"exit status {dead.si_status}"
    name = signal.Signals(dead.si_status).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name
