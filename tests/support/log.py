"""What a process says, line by line, as soon as it has said it."""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

DEADLINE = 60.0
"""Seconds after which a test gives up waiting."""
Record = dict[str, Any]


class Log:
    """What a process and its children write to a pipe; for any thread.

    Who looks sees all that is in the pipe by then.
    """

    def __init__(self, stream: IO[str]) -> None:
        """``stream`` is closed at its end, which comes when the last of them has ended."""
        self._stream = stream
        self._said = b""
        self._ended = False
        self._grown = threading.Condition()
        os.set_blocking(stream.fileno(), False)
        self._thread = threading.Thread(target=self._read, name="log")
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            while not self._ended:
                select.select([self._stream], [], [])
                with self._grown:
                    self._take()

    def _take(self) -> None:
        """What is in the pipe. The lock is held."""
        try:
            while not self._ended:
                piece = os.read(self._stream.fileno(), 1 << 16)
                self._said += piece
                self._ended = not piece
                self._grown.notify_all()
        except BlockingIOError:
            pass

    @property
    def text(self) -> str:
        """All whole lines; at the end the rest, too."""
        with self._grown:
            self._take()
            whole = self._said if self._ended else self._said[: self._said.rfind(b"\n") + 1]
        return whole.decode()

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Nobody reads what is said, within; who looks meanwhile waits."""
        with self._grown:
            yield

    def events(self, event: str, **fields: object) -> list[Record]:
        """The records of one kind that have these fields."""
        wanted = {"event": event, **fields}
        return [record for record in map(_record, self.text.splitlines()) if wanted.items() <= record.items()]

    def wait_for(self, event: str, count: int = 1, **fields: object) -> list[Record]:
        """The first ``count`` of such records, once they are there."""
        with self._grown:
            self._grown.wait_for(lambda: len(self.events(event, **fields)) >= count or self._ended, DEADLINE)
        found = self.events(event, **fields)
        assert len(found) >= count, f"{count} times {event} {fields} is not in the log:\n{self.text}"
        return found[:count]

    def wait_end(self) -> None:
        """Until no process has the stream open any more."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"somebody still lives:\n{self.text}"


def _record(line: str) -> Record:
    """What is not one of our JSON lines is an event of its own kind."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return {"event": "not JSON", "line": line}
    return record if isinstance(record, dict) else {"event": "not JSON", "line": line}
