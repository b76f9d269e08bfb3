"""One side of a session: a socket that speaks and listens as the script says. It owns the socket."""

from __future__ import annotations

import array
import fcntl
import random
import select
import socket
import termios

from tests.differential.observe import End, Heard, digest
from tests.support.identity import reset

_PIECE = 65536
_SIP = 1024
_WORDS = random.Random(1).randbytes(65521)
"""What is said, over and over; its length is prime."""
SURE_ROOM = 2000
"""Bytes that get through to one who does not read, whatever the buffers."""


class Endpoint:
    """``mark`` makes what it says different from what others say. ``told``: it is told first who is opposite."""

    def __init__(self, sock: socket.socket, mark: int, slow: bool = False, told: bool = False) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._mark = mark
        self._sip = _SIP if slow else _PIECE
        self._unsaid = b""
        self._finishing = False
        self._heard = bytearray()
        self._told = told
        self._header = 0
        """Bytes of it."""
        self.unix = sock.family == socket.AF_UNIX
        self.said = 0
        """Bytes, with those that are still to be sent."""
        self.finished = False
        """It has no more to say."""
        self.reads = True
        self.closed = False
        self.end = End.OPEN
        self.hung_up = False
        """The kernel knows of an end that may not have been read."""
        self.cut = False

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def interest(self) -> int:
        """What to poll it for; 0: nothing."""
        if self.closed:
            return 0
        reading = select.POLLIN if self.reads and self.end is End.OPEN else 0
        hanging = 0 if self.hung_up else select.POLLRDHUP
        return reading | hanging | (select.POLLOUT if self._unsaid else 0)

    def ready(self, mask: int) -> None:
        if mask & (select.POLLRDHUP | select.POLLERR | select.POLLHUP):
            self.hung_up = True
        if self.reads and self.end is End.OPEN and mask & ~select.POLLOUT:
            self._hear()
        if self._unsaid:
            self._send()

    def _hear(self) -> bytes:
        """What there was, nothing at the end or before there is any."""
        try:
            piece = self._sock.recv(self._sip)
        except BlockingIOError:
            return b""
        except (ConnectionResetError, BrokenPipeError):
            self.end = End.RESET
            return b""
        self._heard += piece
        if self._told and not self._header:
            self._header = self._heard.find(b"\n") + 1
        if not piece:
            self.end = End.CLEAN
        return piece

    def _send(self) -> None:
        try:
            sent = self._sock.send(self._unsaid)
        except BlockingIOError:
            return
        except (ConnectionResetError, BrokenPipeError):
            self._fail()
            return
        self._unsaid = self._unsaid[sent:]
        if self._finishing and not self._unsaid:
            self._shut()

    def _fail(self) -> None:
        """Nobody is there any more; what has been heard by then may still be read."""
        self._unsaid = b""
        self.finished = self.hung_up = True
        if self.end is End.OPEN:
            while self._hear():
                pass
            self.end = End.RESET

    def say(self, size: int) -> None:
        begin = (self.said + self._mark) % len(_WORDS)
        copies = (begin + size) // len(_WORDS) + 1
        self.speak((_WORDS * copies)[begin : begin + size])

    def speak(self, words: bytes) -> None:
        self.said += len(words)
        self._unsaid += words
        if words:
            self._send()

    def finish(self) -> None:
        """Once all is said."""
        self.finished = self._finishing = True
        if not self._unsaid:
            self._shut()

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.hung_up = True

    def leave(self, broken: bool = False) -> None:
        """Close the socket; ``broken``: with a reset."""
        self.finished = self.closed = True
        if self.end is End.OPEN:
            self.end = End.OWN
        if broken:
            reset(self._sock)
        else:
            self._sock.close()

    def waiting(self) -> int:
        """Bytes that have arrived and are not read."""
        if self.end is not End.OPEN:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._sock.fileno(), termios.FIONREAD, count)
        return count[0]

    def missing(self, said: int) -> int:
        """How much of what the other side has said has not been read."""
        return said + self._header - len(self._heard)

    def arrived(self, said: int) -> bool:
        """Whether what the other side has said is here, as far as can be: all of it, or what it has room for."""
        missing = self.missing(said)
        if self.end is not End.OPEN or (missing <= 0 and bool(self._header) is self._told):
            return True
        return not self.reads and (self.hung_up or self.waiting() >= min(missing, SURE_ROOM))

    def ended(self) -> bool:
        return self.end is not End.OPEN or (not self.reads and (self.hung_up or self.waiting() >= SURE_ROOM))

    def heard(self, end: End) -> Heard:
        """``end`` is what had become of it before the last left."""
        words = bytes(self._heard[self._header :])
        return Heard(len(words), digest(words), end, self.end, self.cut, self.unix)

    @property
    def header(self) -> bytes:
        """That it was told first."""
        return bytes(self._heard[: self._header])

    @property
    def words(self) -> bytes:
        """All that it has heard."""
        return bytes(self._heard)

    def close(self) -> None:
        self._sock.close()
