"""Reads the PROXY header that stands in front of a client's bytes, before anything else is done with the client.

Runs on the relay thread that accepted the client, and owns the client's socket until it hands it on or gives it up.
The header is looked at where it lies (MSG_PEEK) and taken out once it is whole, so what follows it stays in the
socket for splice(2), and nothing is buffered here, whatever arrives.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from socket import SocketType

from kubelb.proxyproto import MOST, Header, HeaderFault, decode
from kubelb.relay.thread import RelayThread
from kubelb.worker.abandon import abandoned_by_faults

_MASK = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
"""Told once of all that arrives: bytes that are only looked at stay readable."""


class Preface:
    """One client whose header has not arrived yet; ``wheel_key`` is the relay thread's."""

    __slots__ = ("_broken", "_client", "_failed", "_left", "_read", "_thread", "_watched", "wheel_key")

    def __init__(
        self,
        client: SocketType,
        thread: RelayThread,
        read: Callable[[Header], None],
        left: Callable[[], None],
        broken: Callable[[str], None],
        failed: Callable[[], None],
    ) -> None:
        """One of the four is called, once, and the socket is its caller's again.

        ``read``: the header is there, and taken out; ``left``: the client has gone, or kept us waiting for too long;
        ``broken``: it is no header, and why; ``failed``: a limit or a fault of our own has struck, here or later.
        """
        self._client = client
        self._thread = thread
        self._read = read
        self._left = left
        self._broken = broken
        self._failed = failed
        self._watched = False
        self.wheel_key = 0

    @abandoned_by_faults
    def begin(self, timeout: float) -> None:
        """Wait for so many seconds at most (nginx's ``proxy_protocol_timeout``)."""
        if not self._look(ended=False):
            self._watched = True
            self._thread.watch(self._client.fileno(), _MASK, self._arrived)
            self._thread.set_deadline(self, timeout)

    @abandoned_by_faults
    def _arrived(self, mask: int) -> None:
        self._look(ended=bool(mask & ~select.EPOLLIN))

    @abandoned_by_faults
    def expired(self) -> None:
        """As the relay thread's deadline. A busy thread may have had no time for a header that has come."""
        if not self._look(ended=False):
            self._stop()
            self._left()

    def _look(self, ended: bool) -> bool:
        """Whether that was all there is to do; ``ended``: nothing more will come."""
        try:
            data = self._client.recv(MOST, socket.MSG_PEEK)
            header = decode(data)
        except BlockingIOError:
            return False
        except OSError:
            self._stop()
            self._left()
            return True
        except HeaderFault as fault:
            self._stop()
            self._broken(str(fault))
            return True
        if header is None:
            if not ended:
                return False
            self._stop()
            self._broken(f"no whole header: {data!r}")
            return True
        self._client.recv(header.length)
        self._stop()
        self._read(header)
        return True

    def abandon(self) -> None:
        """As :class:`~kubelb.worker.abandon.Stage`."""
        self._stop()
        self._failed()

    def _stop(self) -> None:
        if self._watched:
            self._watched = False
            self._thread.unwatch(self._client.fileno())
            self._thread.drop_deadline(self)
