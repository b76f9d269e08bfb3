"""Asks all workers which sessions there are, and waits for their answers.

In control: who asks does so on a thread of the admin side and waits there; what the workers say comes on the loop,
which never waits.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from kubelb.control.sessions import Gathering, Sessions, answer
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Table
from kubelb.wire.messages import AskSessions, SessionList

_PATIENCE = 1.0
"""Seconds without a word after which those that have not answered are given up."""


class Census:
    def __init__(self, table: Table, say: Callable[[AskSessions], None]) -> None:
        """``say`` sends to the supervisor, from any thread."""
        self._table = table
        self._say = say
        # An answer that an earlier control process asked for is nobody's.
        self._numbers = itertools.count(time.monotonic_ns())
        self._waiting: dict[int, SimpleQueue[SessionList]] = {}

    def told(self, part: SessionList) -> None:
        """On the loop: what a worker says."""
        waiting = self._waiting.get(part.number)
        if waiting is not None:
            waiting.put(part)

    def ask(self, slots: frozenset[int] | None, snapshot: Callable[[], Snapshot]) -> Sessions:
        """From any thread but the loop's: the sessions of these servers; None: of all.

        ``snapshot`` is asked once the answers are here, for who has which slot.
        """
        workers = _workers(self._table)
        gathered = Gathering(workers)
        number = next(self._numbers)
        parts = self._waiting[number] = SimpleQueue()
        self._say(AskSessions(number, None if slots is None else tuple(slots)))
        try:
            while gathered.missing:
                gathered.add(parts.get(timeout=_PATIENCE))
        except Empty:
            pass
        finally:
            del self._waiting[number]
        return answer(gathered, snapshot(), workers, time.monotonic())


def _workers(table: Table) -> dict[int, int]:
    """The process of each relay thread, by its row."""
    return {row: pid for row, pid in enumerate(table.each(0, Count.PID)) if pid}
