"""The status page of the running proxy, with the history that it shows.

In control, and only where the admin side over TCP is wanted. The loop looks at the counters every other second; the
page is written on the threads that answer HTTP, when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import resources

import psutil

from kubelb.control import page
from kubelb.control.endpoint import Answer
from kubelb.control.history import EVERY, History
from kubelb.control.loop import Loop
from kubelb.control.status import Status
from kubelb.snapshot import Snapshot


class Site:
    def __init__(
        self, loop: Loop, supervisor: int, snapshot: Callable[[], Snapshot], status: Callable[[], Status]
    ) -> None:
        """``supervisor`` is that one's pid; the functions are called on any thread."""
        self._loop = loop
        self._snapshot = snapshot
        self._status = status
        self._history = History()
        self._began = psutil.Process(supervisor).create_time()
        self._look = page.Look(_asset("page.css"), _asset("page.js"))

    def start(self) -> None:
        """On the loop, which goes on with it."""
        now = time.monotonic()
        self._history = self._history.and_then(self._status(), now)
        self._loop.at(now + EVERY, self.start)

    def document(self) -> Answer:
        """From any thread, as :meth:`fragment`."""
        return page.document(self._picture(), self._look)

    def fragment(self) -> Answer:
        return page.fragment(self._picture(), self._look)

    def _picture(self) -> page.Picture:
        return page.Picture(self._snapshot(), self._status(), self._history, self._began, time.time())


def _asset(name: str) -> str:
    return resources.files("kubelb.control").joinpath(name).read_text("utf-8")
