"""One log line per ended session, written by a thread of its own: a slow reader of the log never holds up a relay.

Records are queued by the relay threads. When the reader is so slow that the queue is full, records are lost, not
sessions; the next line that gets through says how many.
"""

from __future__ import annotations

import queue
import threading
import time

from kubelb import log
from kubelb.relay.session import End, Session
from kubelb.worker.books import Visit

_QUEUED = 10_000


class AccessLog:
    """Made and used after the fork, as it starts a thread."""

    def __init__(self) -> None:
        self._queue: queue.Queue[dict[str, object] | None] = queue.Queue(_QUEUED)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def record(self, visit: Visit, session: Session, end: End) -> None:
        """From any relay thread."""
        host, port = visit.client
        fields: dict[str, object] = {
            "client": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "listener": visit.listener.address,
            "pool": visit.listener.pool,
            "server": visit.server.name,
            "bytes_up": session.up.moved,
            "bytes_down": session.down.moved,
            "seconds": round(time.monotonic() - visit.opened_at, 3),
            "end": end.value,
        }
        try:
            self._queue.put_nowait(fields)
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Once no more is recorded: until all is written."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (fields := self._queue.get()) is not None:
            lost, self._lost = self._lost, 0
            if lost:
                fields["records_lost"] = lost
            log.get().info("session", **fields)
