"""Where events go: standard error, files, syslog servers, each with the least level that is written.

Used by the one thread that writes the log, or, in a process that has no children, by whichever has an event. Owns the
descriptors of the files. The supervisor opens them; the process that writes the log has inherited them, with a socket
of its own to each syslog server.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

from kubelb.opening import open_to_append
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


def has_room(fd: int) -> bool:
    """Whether a write of up to PIPE_BUF bytes is done at once."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class Line:
    """An event on its way to the outlets: whole as JSON, and its fields for an outlet that has a form of its own."""

    def __init__(self, json: bytes) -> None:
        self.json = json

    @cached_property
    def event(self) -> Event:
        """Raises :class:`ValueError` or :class:`RecursionError` for what is no event."""
        event = json.loads(self.json)
        if not isinstance(event, dict):
            raise ValueError
        return event


class Outlets:
    """All that there are."""

    def __init__(self, targets: Sequence[Target], renderer: Callable[[int], Render | None], as_json: Render) -> None:
        """``renderer`` knows how a descriptor wants its lines; None: as JSON. Raises :class:`OSError` for a file."""
        self._as_json = as_json
        self._streams: list[_Stream] = []
        self._all: list[_Stream | _Syslog] = []
        self._last = _Stream(Target(), renderer)
        """Where it is said what is lost, if there is nothing but syslog."""
        for target in targets:
            self._all.append(
                self._stream(target, renderer) if target.syslog is None else _Syslog(target, target.syslog)
            )

    def _stream(self, target: Target, renderer: Callable[[int], Render | None]) -> _Stream:
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

    def wanted_at(self, level: str) -> int:
        """Which of them want an event of that level: a bit for each, in the targets' order."""
        harm = _HARM[level]
        return sum(1 << number for number, outlet in enumerate(self._all) if harm >= outlet.level)

    def write(self, **event: Any) -> None:
        """Where it is wanted; nobody is waited for."""
        self.put(Line(self.render(event)), self.wanted_at(event["level"]))

    def render(self, event: Event) -> bytes:
        """As JSON."""
        return self._as_json(event).encode(errors="backslashreplace")

    def put(self, line: Line, wanted: int, has_room: Callable[[int], bool] = has_room) -> None:
        """To those that are ``wanted``. ``has_room`` says of a descriptor whether a write of up to PIPE_BUF bytes is
        done at once; it may wait until that is so. Raises as :attr:`Line.event`."""
        for number, outlet in enumerate(self._all):
            if not wanted >> number & 1:
                continue
            if isinstance(outlet, _Stream):
                outlet.write(line, has_room)
            elif (loss := outlet.write(line, self._as_json)) is not None:
                for stream in self._streams or [self._last]:
                    stream.write(Line(self.render(loss)), has_room)

    def only_one(self) -> int | None:
        """The descriptor of the only one, where that may have to be waited for and nobody else is kept waiting."""
        if len(self._all) > 1 or not self._streams or self._streams[0].is_regular:
            return None
        return self._streams[0].fd

    def files(self) -> list[str]:
        """The paths of those that are files."""
        return [stream.path for stream in self._streams if stream.path is not None]

    def replace(self, index: int, fd: int) -> None:
        """The file of that number among :meth:`files` has been opened anew; ``fd`` is closed."""
        try:
            [stream for stream in self._streams if stream.path is not None][index].replace(fd)
        finally:
            os.close(fd)

    def disown(self) -> None:
        """In a child: its messages have a socket of their own."""
        for outlet in self._all:
            if isinstance(outlet, _Syslog):
                outlet.disown()

    def close(self) -> None:
        """Nothing is written by this process any more."""
        self.disown()
        for stream in self._streams:
            stream.close()


class _Stream:
    """Standard error, or a file that is appended to."""

    def __init__(self, target: Target, renderer: Callable[[int], Render | None]) -> None:
        self.level = LEVELS[target.level]
        self.path = target.file
        self.fd = 2 if target.file is None else open_to_append(target.file).fd
        self._look()
        self._render = renderer(self.fd)
        self._lost = 0
        self._start = b""
        """Of the next line: it ends one of which only the beginning was written."""

    def _look(self) -> None:
        try:
            self.is_regular = stat.S_ISREG(os.fstat(self.fd).st_mode)
        except OSError as error:
            if error.errno != errno.EBADF:  # Standard error may be closed.
                raise
            self.is_regular = False

    def write(self, line: Line, has_room: Callable[[int], bool]) -> None:
        """What cannot be written is lost: the proxy outlives whoever reads it, and a full disk."""
        if self._lost:
            loss = loss_before(line.event, {"reason": "it was not read, or could not be written"}, self._lost)
            if self._put(Line(json.dumps(loss).encode()), has_room):
                self._lost = 0
        if not self._put(line, has_room):
            self._lost += 1

    def _put(self, line: Line, has_room: Callable[[int], bool]) -> bool:
        """Whether it was written, whole; in one piece where pipe(7) takes it as one, and always into a file."""
        text = line.json if self._render is None else self._render(line.event).encode(errors="backslashreplace")
        data = b"%b%b\n" % (self._start, text)
        written = 0
        try:
            if self.is_regular:
                written = os.write(self.fd, data)
            while written < len(data) and not self.is_regular and has_room(self.fd):
                written += os.write(self.fd, data[written : written + select.PIPE_BUF])
        except OSError:  # Of a disk, or of whatever standard error is.
            pass
        if written:
            self._start = b"" if written == len(data) else b"\n"
        return written == len(data)

    def replace(self, fd: int) -> None:
        """The descriptor keeps its number."""
        os.dup2(fd, self.fd, inheritable=False)
        self._look()
        self._start = b""

    def close(self) -> None:
        if self.path is not None:
            os.close(self.fd)


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

    def write(self, line: Line, render: Render) -> Event | None:
        """What is to be told elsewhere, from time to time, of events that are lost."""
        event = line.event
        reason = self._send(event, render)
        if reason is None:
            if self._unheard:
                count, self._unheard = self._unheard, 0
                self._send(loss_before(event, self._why("it did not take them"), count), render)
            return None
        self._lost += 1
        self._unheard += 1
        now = time.monotonic()
        if now < self._tell_at:
            return None
        self._tell_at = now + _TELLING
        count, self._lost = self._lost, 0
        return loss_before(event, self._why(reason), count)

    def disown(self) -> None:
        self._sender.close()

    def _send(self, event: Event, render: Render) -> str | None:
        fields = {name: value for name, value in event.items() if name != "timestamp"}
        text = render(fields).encode(errors="backslashreplace")[:_LONGEST]
        return self._sender.send(self._peer.message(OF_LEVEL[event["level"]], datetime.now().astimezone(), text))

    def _why(self, reason: str) -> Event:
        return {"syslog": str(self._peer), "reason": reason}


def loss_before(event: Event, why: Event, count: int) -> Event:
    """Told with the next event: that so many before it are lost."""
    told = {**why, "events": count, "event": "log_lost", "level": "error"}
    return {**told, "process": event.get("process"), "timestamp": event.get("timestamp")}
