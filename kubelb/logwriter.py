"""The writer of the log: takes lines out of the queue that all processes put them into, and writes them.

It runs on a thread of its own in control, and in a process of its own where there is no control; in one process at a
time. A disk that stands still, a pipe that is full and a reader that has stalled hold up this thread and nobody else.
A line stays in the queue until it is written, so that it is another writer's if this one is killed. The thread owns
the outlets.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Final

from kubelb import log
from kubelb.inbox import Call, contained
from kubelb.logqueue import LogQueue
from kubelb.outlets import Line, Outlets, has_room, loss_before

_TELLING: Final = 10.0
"""Seconds between two times that it is said how many lines are lost, at least, while they come without a pause."""


class LogWriter:
    def __init__(
        self, queue: LogQueue, outlets: Outlets, process: str, until: int | None = None, patient: bool = True
    ) -> None:
        """``process`` is the name of the one that it runs in. Once the descriptor ``until`` is readable, it stops as
        soon as all that there is has been written. ``patient``: where nobody else is kept waiting it waits for a
        reader that has stalled."""
        self._queue = queue
        self._outlets = outlets
        self._process = process
        self._ends = frozenset([queue.over] if until is None else [queue.over, until])
        """Descriptors that are readable when it has to end."""
        self._patient = patient
        self._calls: deque[Call] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopped = False
        """This and the next are the thread's own."""
        self._stops_when_empty = False
        self._tell_at = time.monotonic() + _TELLING

    def run(self) -> None:
        """Until it is told to end, or nobody can say anything any more and all is written."""
        while not self._stopped:
            contained(self._turn)

    def stop(self) -> None:
        """From any thread: have :meth:`run` return before the next line."""
        self._post(self._stop)

    def stop_when_empty(self) -> None:
        """From any thread: have :meth:`run` return once all that there is has been written."""
        self._post(self._stop_when_empty)

    def replace(self, index: int, fd: int) -> None:
        """From any thread: as :meth:`kubelb.outlets.Outlets.replace`."""
        self._post(partial(self._outlets.replace, index, fd))

    def close(self) -> None:
        """Once :meth:`run` has returned."""
        os.close(self._wake)

    def _post(self, call: Call) -> None:
        self._calls.append(call)
        os.eventfd_write(self._wake, 1)

    def _stop(self) -> None:
        self._stopped = True

    def _stop_when_empty(self) -> None:
        self._stops_when_empty = True

    def _turn(self) -> None:
        """Do what was posted, and write the first line there is, or wait for one."""
        self._do_posted()
        if self._stopped:
            return
        line = self._queue.peek()
        if line is not None:
            self._write_first(line)
            return
        self._tell_lost()
        if self._stops_when_empty:
            self._stopped = True
        elif not self._stopped:
            self._wait()

    def _do_posted(self) -> None:
        while self._calls:
            contained(self._calls.popleft())

    def _write_first(self, data: bytes) -> None:
        """It stays in the queue where this one is told to stop before it is written."""
        try:
            line, wanted = log.decode(data)
            self._put(line, wanted)
        except (ValueError, RecursionError):
            pass  # Only a child that was taken over puts what is no line there.
        finally:
            if not self._stopped:
                self._queue.drop()
        if time.monotonic() >= self._tell_at:
            self._tell_lost()

    def _put(self, line: Line, wanted: int) -> bool:
        """Where it is the only outlet it may take as long as it likes; of several none waits for another. False: this
        one is told to stop, and nothing is written."""
        only = self._outlets.only_one() if self._patient else None
        if only is None:
            self._outlets.put(line, wanted, has_room)
        elif self._wait_for_room(only):
            self._outlets.put(line, wanted, self._wait_for_room)
        return not self._stopped

    def _wait_for_room(self, fd: int) -> bool:
        """Whether there is; not where this one is told to stop."""
        while not self._stopped:
            if fd in self._ready({fd: select.POLLOUT}) and not self._stopped:
                return True
        return False

    def _wait(self) -> None:
        """For a line, for one that is lost, or to be told something."""
        self._ready(dict.fromkeys((self._queue.losses, self._queue.fileno()), select.POLLIN))

    def _ready(self, wanted: Mapping[int, int]) -> list[int]:
        """Those of the descriptors of which an event that is ``wanted`` has come, as soon as one has, or this one has
        been told something."""
        poll = select.poll()
        for fd, events in {**dict.fromkeys((self._wake, *self._ends), select.POLLIN), **wanted}.items():
            poll.register(fd, events)
        ready = [fd for fd, _ in poll.poll()]
        if self._wake in ready:
            os.eventfd_read(self._wake)
            self._do_posted()
        if not self._ends.isdisjoint(ready):
            self._ends, self._stops_when_empty = frozenset(), True
        return ready

    def _tell_lost(self) -> None:
        """Of lines that found no room in the queue."""
        self._tell_at = time.monotonic() + _TELLING
        count = self._queue.take_lost()
        if not count:
            return
        here = {"process": self._process, "timestamp": datetime.now(timezone.utc).isoformat()}
        loss = loss_before(here, {"reason": "it could not be written fast enough"}, count)
        if not self._put(Line(self._outlets.render(loss)), self._outlets.wanted_at("error")):
            self._queue.count_lost(count)
