"""The thread that writes the log: of what all processes have put into its queue, while there is a control process.

Made, and told when to end, by control's main thread.
"""

from __future__ import annotations

import threading
from typing import Final

from kubelb import log
from kubelb.logqueue import LogQueue
from kubelb.logwriter import LogWriter

_PATIENCE: Final = 1.0
"""Seconds that the thread may take to end: a file system that stands still may hold it."""


class LogThread:
    def __init__(self, queue: LogQueue) -> None:
        """Starts it."""
        self._queue = queue
        self._writer = LogWriter(queue, log.outlets(), "control")
        self._thread = threading.Thread(target=self._writer.run, name="log", daemon=True)
        self._thread.start()

    def replace(self, index: int, fd: int) -> None:
        """As :meth:`kubelb.outlets.Outlets.replace`."""
        self._writer.replace(index, fd)

    def stop(self) -> None:
        """Between two lines: another process goes on with the next."""
        self._writer.stop()
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            self._writer.close()

    def write_out(self) -> None:
        """What there is now, and end: another control may fare no better."""
        self._writer.stop_when_empty()
        self._thread.join(_PATIENCE)
        self.stop()

    def write_for_others(self) -> None:
        """As long as there are any: nobody else will. This process has nothing more to say."""
        log.go_through(None)
        self._queue.close_writing()
        self._queue.wait_until_over()
        self.write_out()
