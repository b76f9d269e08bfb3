"""Where this process's events go: standard error, files, syslog servers, each with the least level that is written.

Used by whichever thread has an event, and owns the descriptors of the files. A child goes on with those that it has
inherited, and with a socket of its own to each syslog server.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from kubelb.opening import open_to_append
from kubelb.reasons import reason_of
from kubelb.syslog.message import OF_LEVEL, Peer
from kubelb.syslog.sender import Sender

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
"""Those that a target can have."""
Event = Mapping[str, Any]
"""An event's fields, of which all have ``level``, ``process`` and ``timestamp``."""
Render = Callable[[Event], str]
"""A line, without its end."""

_HARM: Final = {**LEVELS, "critical": logging.CRITICAL}
_TELLING: Final = 10.0
"""Seconds between two times that it is said how many are lost, at least."""
_LONGEST: Final = 8 << 10
"""Bytes of a message's text; common syslog servers cut off what is longer."""


class Target(NamedTuple):
    """Neither a file nor a syslog server: standard error."""

    level: str = "info"
    """The least that is written."""
    file: str | None = None
    syslog: Peer | None = None


class Outlets:
    """All that there are."""

    def __init__(self, targets: Sequence[Target], renderer: Callable[[int], Render], as_json: Render) -> None:
        """``renderer`` knows how a descriptor wants its lines. Raises :class:`OSError` for a file."""
        self._as_json = as_json
        self._streams: list[_Stream] = []
        self._all: list[_Stream | _Syslog] = []
        self._last = _Stream(Target(), renderer)
        """Where it is said what is lost, if there is nothing but syslog."""
        for target in targets:
            self._all.append(
                self._stream(target, renderer) if target.syslog is None else _Syslog(target, target.syslog)
            )

    def _stream(self, target: Target, renderer: Callable[[int], Render]) -> _Stream:
        stream = _Stream(target, renderer)
        self._streams.append(stream)
        return stream

    @property
    def level(self) -> int:
        """The least that is written anywhere."""
        return min(outlet.level for outlet in self._all)

    def set_levels(self, levels: Sequence[str]) -> None:
        """In the targets' order."""
        for outlet, level in zip(self._all, levels, strict=False):
            outlet.level = LEVELS[level]

    def write(self, **event: Any) -> None:
        level = _HARM[event["level"]]
        for outlet in self._all:
            if level < outlet.level:
                continue
            if isinstance(outlet, _Stream):
                outlet.write(event)
            elif (loss := outlet.write(event, self._as_json)) is not None:
                for stream in self._streams or [self._last]:
                    stream.write(loss)

    debug = info = warning = error = critical = write

    def reopen(self) -> Iterator[tuple[str, str]]:
        """Each file: it may have been renamed. Those that cannot be opened, and why."""
        for stream in self._streams:
            try:
                stream.reopen()
            except OSError as error:
                yield stream.path or "", reason_of(error)

    def disown(self) -> None:
        """In a child: its messages have a socket of their own."""
        for outlet in self._all:
            if isinstance(outlet, _Syslog):
                outlet.disown()

    def close(self) -> None:
        self.disown()
        for stream in self._streams:
            stream.close()


class _Stream:
    """Standard error, or a file that is appended to. Who reads the other end of a pipe is not waited for."""

    def __init__(self, target: Target, renderer: Callable[[int], Render]) -> None:
        self.level = LEVELS[target.level]
        self.path = target.file
        self._fd = 2 if target.file is None else open_to_append(target.file).fd
        self._render = renderer(self._fd)
        self._lost = 0
        self._start = b""
        """Of the next line: it ends one of which only the beginning was written."""

    def write(self, event: Event) -> None:
        """At once; what cannot be written is lost: the proxy outlives whoever reads it, and a full disk."""
        if self._lost and self._put(_loss(event, {"reason": "it was not read, or could not be written"}, self._lost)):
            self._lost = 0
        if not self._put(event):
            self._lost += 1

    def _put(self, event: Event) -> bool:
        """Whether it was written, whole; in one piece where pipe(7) takes it as one, and always into a file."""
        line = self._start + f"{self._render(event)}\n".encode(errors="backslashreplace")
        written = 0
        try:
            size = len(line) if stat.S_ISREG(os.fstat(self._fd).st_mode) else select.PIPE_BUF
            while written < len(line) and _has_room(self._fd):
                written += os.write(self._fd, line[written : written + size])
        except OSError:
            pass
        if written:
            self._start = b"" if written == len(line) else b"\n"
        return written == len(line)

    def reopen(self) -> None:
        """Raises :class:`OSError`."""
        if self.path is None:
            return
        fd = open_to_append(self.path).fd
        # The descriptor keeps its number, so that threads in the middle of a line need not know.
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._start = b""

    def close(self) -> None:
        if self.path is not None:
            os.close(self._fd)


class _Syslog:
    """A syslog server: it knows the time, and how bad an event is."""

    def __init__(self, target: Target, peer: Peer) -> None:
        self.level = LEVELS[target.level]
        self._peer = peer
        self._sender = Sender(peer.address)
        self._lost = 0
        """Since it was told elsewhere."""
        self._unheard = 0
        """Since the server has heard of it."""
        self._tell_at = 0.0

    def write(self, event: Event, render: Render) -> Event | None:
        """What is to be told elsewhere, from time to time, of events that are lost."""
        reason = self._send(event, render)
        if reason is None:
            if self._unheard:
                count, self._unheard = self._unheard, 0
                self._send(_loss(event, self._why("it did not take them"), count), render)
            return None
        self._lost += 1
        self._unheard += 1
        now = time.monotonic()
        if now < self._tell_at:
            return None
        self._tell_at = now + _TELLING
        count, self._lost = self._lost, 0
        return _loss(event, self._why(reason), count)

    def disown(self) -> None:
        self._sender.close()

    def _send(self, event: Event, render: Render) -> str | None:
        fields = {name: value for name, value in event.items() if name != "timestamp"}
        text = render(fields).encode(errors="backslashreplace")[:_LONGEST]
        return self._sender.send(self._peer.message(OF_LEVEL[event["level"]], datetime.now().astimezone(), text))

    def _why(self, reason: str) -> Event:
        return {"syslog": str(self._peer), "reason": reason}


def _loss(event: Event, why: Event, count: int) -> Event:
    """Told with the next event: that so many before it are lost."""
    told = {**why, "events": count, "event": "log_lost", "level": "error"}
    return {**told, "process": event.get("process"), "timestamp": event.get("timestamp")}


class _Thread(threading.local):
    may_wait = False


_thread = _Thread()


def wait_for_room() -> None:
    """Have the calling thread wait where there is no room for its events, from now on: it has nothing else to do."""
    _thread.may_wait = True


def _has_room(fd: int) -> bool:
    """Whether a write of up to PIPE_BUF bytes is done at once."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if _thread.may_wait else 0))
