"""Threads on which requests of admin.sock are answered: as many as there are requests at a time.

A reload may wait for name servers, an upgrade for clients: nobody else is to wait behind them. waitress starts all
threads beforehand; here each is started when it is first needed, and stays.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from waitress.task import ThreadedTaskDispatcher


class GrowingThreads(ThreadedTaskDispatcher):  # type: ignore[misc]
    """``most`` is how many there may be."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.set_thread_count(1)

    def add_task(self, task: Any) -> None:
        """From the thread that polls, which alone lets the threads grow more."""
        with self.lock:
            threads = len(self.threads) - self.stop_count
            is_wanted = self.active_count + len(self.queue) >= threads
        if is_wanted and threads < self._most:
            with suppress(RuntimeError):  # There is no room for another: the request waits for one of these.
                self.set_thread_count(threads + 1)
        super().add_task(task)
