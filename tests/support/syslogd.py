"""A syslog server for a test: a datagram socket, and what came to it."""

from __future__ import annotations

import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_HEADER = re.compile(
    rb"<(?P<priority>[0-9]+)>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} (?:(?P<host>[^ :]*) )?(?P<tag>\w*): (?P<text>.*)",
    re.DOTALL,
)
_DEADLINE = 60.0


class Message(NamedTuple):
    """But for its time."""

    priority: int
    host: str
    tag: str
    text: str


class Syslogd:
    """``sock`` is bound; its owner closes it, once :meth:`stop` was called. A thread reads it: few messages wait."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._messages: list[Message] = []
        self._taken = 0
        self._grown = threading.Condition()
        self._ours, self._theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._read, name="syslogd")
        self._thread.start()

    @property
    def name(self) -> str:
        """As an nginx.conf has it."""
        where = self._sock.getsockname()
        if isinstance(where, str):
            return f"unix:{where}"
        return f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"

    def receive(self, count: int = 1) -> list[Message]:
        """The next that come."""
        with self._grown:
            there = self._grown.wait_for(lambda: len(self._messages) >= self._taken + count, _DEADLINE)
            assert there, f"only {self._messages[self._taken :]}"
            found = self._messages[self._taken : self._taken + count]
            self._taken += count
            return found

    def receive_until(self, part: str) -> list[Message]:
        """All up to the first that has ``part`` in it."""
        found: list[Message] = []
        while not found or part not in found[-1].text:
            found += self.receive()
        return found

    def rest(self) -> list[Message]:
        """What has come and was not asked for."""
        with self._grown:
            found = self._messages[self._taken :]
            self._taken += len(found)
            return found

    def stop(self) -> None:
        self._ours.close()
        self._thread.join()
        self._theirs.close()

    def _read(self) -> None:
        while self._theirs not in (ready := select.select([self._sock, self._theirs], [], [])[0]):
            assert ready
            message = _parsed(self._sock.recv(1 << 16))
            with self._grown:
                self._messages.append(message)
                self._grown.notify_all()


def _parsed(message: bytes) -> Message:
    match = _HEADER.fullmatch(message)
    assert match is not None, message
    host = (match["host"] or b"").decode()
    return Message(int(match["priority"]), host, match["tag"].decode(), match["text"].decode("latin-1"))


@contextmanager
def udp(host: str = "127.0.0.1", port: int = 0) -> Iterator[Syslogd]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        with _running(sock) as syslogd:
            yield syslogd


@contextmanager
def unix(path: Path) -> Iterator[Syslogd]:
    """Its file is removed, as that of a syslogd which ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        try:
            with _running(sock) as syslogd:
                yield syslogd
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _running(sock: socket.socket) -> Iterator[Syslogd]:
    syslogd = Syslogd(sock)
    try:
        yield syslogd
    finally:
        syslogd.stop()
