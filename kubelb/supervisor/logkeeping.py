"""The supervisor's part in the log: it holds the queue for all, and sees to it that somebody writes what is in there.

That is control, mostly. Where there is none and will be none, at a stop and at its end, a child that has nothing else
to do writes. The supervisor itself never does, for that might take for ever; only where it cannot fork it writes what
finds room at once. For its only thread.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from kubelb import log
from kubelb.logqueue import LogQueue
from kubelb.logwriter import LogWriter
from kubelb.reasons import reason_of
from kubelb.signals import SignalPipe
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FromLogWriter, ToLogWriter
from kubelb.wire.messages import Stop

Spawn = Callable[[Callable[[Channel[ToLogWriter]], None]], tuple[int, Channel[FromLogWriter]]]


class LogKeeping:
    def __init__(self, spawn: Spawn, signals: SignalPipe, patience: float) -> None:
        """``spawn`` starts a child that does what it is given. The last lines may take ``patience`` seconds. From now
        on events go through the queue."""
        self._spawn = spawn
        self._signals = signals
        self._patience = patience
        self.queue = LogQueue()
        self._pid = 0
        """Of the child that writes in control's place; 0: there is none."""
        self._channel: Channel[FromLogWriter] | None = None
        log.go_through(self.queue)

    def close(self) -> None:
        """In a child that does not write the log."""
        self.queue.close_reading()
        log.outlets().close()

    def channels(self) -> list[Channel[FromLogWriter]]:
        return [] if self._channel is None else [self._channel]

    def replace(self, index: int, fd: int) -> None:
        """Children that are forked from now on have this one for that file."""
        log.outlets().replace(index, fd)

    def write_apart(self) -> None:
        """Have a child write: there is no control, and will be none."""
        if self._pid:
            return
        try:
            self._pid, self._channel = self._spawn(self._write_all)
        except OSError as error:
            log.get().error("child_not_started", child="log", reason=reason_of(error))
            self.write_here()

    def _write_all(self, channel: Channel[ToLogWriter]) -> None:
        """In that child."""
        log.go_through(None)
        self.queue.close_writing()
        LogWriter(self.queue, log.outlets(), "log", until=channel.fileno()).run()

    def write_here(self) -> None:
        """Nobody else can: what finds room is written."""
        writer = LogWriter(self.queue, log.outlets(), "supervisor", patient=False)
        writer.stop_when_empty()
        writer.run()
        writer.close()

    def leave_it_to_control(self) -> None:
        """There will be one: no other writes beside it."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self.died(self._pid)

    def died(self, pid: int) -> None:
        """A child has, which may be this one."""
        if self._channel is not None and pid == self._pid:
            self._channel.close()
            self._pid, self._channel = 0, None

    def end(self) -> None:
        """When the last line has been said: once it is written, but not for ever."""
        self.write_apart()
        if self._channel is not None:
            # What it is to do is also said by the end of the channel.
            if not self._channel.offer(Stop()):
                self._channel.close()
            self._await_child(time.monotonic() + self._patience)
        log.go_through(None)

    def _await_child(self, deadline: float) -> None:
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if (left := deadline - time.monotonic()) <= 0:
                os.kill(self._pid, signal.SIGKILL)
                return
            select.select([self._signals], [], [], left)
            self._signals.receive()
