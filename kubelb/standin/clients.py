"""A little traffic, so that a demonstration has something to show: clients that ask and clients that watch.

Each client is a thread of the calling process and owns its connection. An asking client keeps a connection
for some requests and then takes a new one, as many short-lived tools do; a watching client holds one for as
long as it lasts, as a kubelet does. What is cut is counted and tried again.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

_PAUSE = 0.05
"""Seconds between two requests of a client."""
_KEEP = 20
"""Requests a connection carries."""
_TIMEOUT = 5.0
"""Seconds without an answer after which a client gives up."""


@dataclass(frozen=True)
class Tally:
    """What the clients have seen so far."""

    answers: int = 0
    failures: int = 0
    """Requests that got no answer: refused, cut or too slow."""
    slowest: float = 0.0
    """Seconds the slowest answer took, its connection's making included."""
    watches_cut: int = 0
    """Watches that ended though the client wanted more."""


class Traffic:
    """A context manager: the clients run inside it."""

    def __init__(self, host: str, port: int, authority: Path, asking: int = 4, watching: int = 3) -> None:
        """``authority`` is the file of the certificate authority to trust."""
        self._host, self._port = host, port
        self._context = ssl.create_default_context(cafile=str(authority))
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._tally = Tally()
        self._threads = [threading.Thread(target=self._ask, name=f"ask-{n}") for n in range(asking)]
        self._threads += [threading.Thread(target=self._watch, name=f"watch-{n}") for n in range(watching)]

    def tally(self) -> Tally:
        with self._lock:
            return self._tally

    def _answered(self, seconds: float) -> None:
        with self._lock:
            tally = self._tally
            self._tally = replace(tally, answers=tally.answers + 1, slowest=max(tally.slowest, seconds))

    def _failed(self) -> None:
        with self._lock:
            self._tally = replace(self._tally, failures=self._tally.failures + 1)

    def _cut(self) -> None:
        with self._lock:
            self._tally = replace(self._tally, watches_cut=self._tally.watches_cut + 1)

    def _connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT, context=self._context)

    def _ask(self) -> None:
        while not self._stopping.is_set():
            with contextlib.closing(self._connection()) as connection:
                try:
                    self._ask_some(connection)
                except (OSError, http.client.HTTPException):
                    self._failed()
                    self._stopping.wait(_PAUSE)

    def _ask_some(self, connection: http.client.HTTPSConnection) -> None:
        for _ in range(_KEEP):
            began = time.monotonic()
            connection.request("GET", "/api/v1/namespaces")
            connection.getresponse().read()
            self._answered(time.monotonic() - began)
            if self._stopping.wait(_PAUSE):
                return

    def _watch(self) -> None:
        while not self._stopping.is_set():
            with contextlib.closing(self._connection()) as connection:
                try:
                    connection.request("GET", "/api/v1/namespaces?watch=true")
                    response = connection.getresponse()
                except (OSError, http.client.HTTPException):
                    self._failed()
                else:
                    self._read_events(response)
            self._stopping.wait(_PAUSE)

    def _read_events(self, response: http.client.HTTPResponse) -> None:
        with response, contextlib.suppress(OSError, http.client.HTTPException):
            while response.readline():
                if self._stopping.is_set():
                    return
        self._cut()

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
