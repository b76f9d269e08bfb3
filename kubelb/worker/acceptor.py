"""Takes clients from one listening socket, on a relay thread; the socket is the supervisor's and shared by all.

Of the threads that wait for a listening socket the kernel wakes the one that has waited longest in its queue
(EPOLLEXCLUSIVE wakes one), so an acceptor goes to the end of that queue after each client: sessions are dealt out
evenly. Busy threads need not: they are not waiting, and whoever polls first finds the client. When descriptors or
memory run out an acceptor leaves the clients in the kernel's queue and looks again a little later.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from socket import SocketType

from kubelb import log
from kubelb.config.variables import address_text
from kubelb.own_limits import OWN, own_reason
from kubelb.relay.thread import RelayThread
from kubelb.worker.sockets import accept, listening_address

_PAUSE = 0.1
"""Seconds without accepting after descriptors ran out."""
_OF_ONE_CLIENT = frozenset(
    {
        *(errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
    }
)
"""Errnos of one connection that was lost before it was accepted, and is in the queue no more: accept(2)."""
_MASK = select.EPOLLIN | select.EPOLLEXCLUSIVE

Welcome = Callable[[SocketType, tuple[str, int]], None]
"""Takes an accepted, non-blocking socket and the client's address."""


class Acceptor:
    """``wheel_key`` is the relay thread's."""

    def __init__(self, listening: socket.socket, thread: RelayThread, welcome: Welcome) -> None:
        """``listening`` is non-blocking."""
        self._listening = listening
        self._thread = thread
        self._welcome = welcome
        self._watching = False
        self._exhausted = False
        self.wheel_key = 0

    def start(self) -> None:
        try:
            self._thread.watch(self._listening.fileno(), _MASK, self._ready)
        except OSError as error:
            self._wait(own_reason(error.errno or 0))
        else:
            self._watching = True

    def stop(self) -> None:
        """For good, with the clients that are in the queue: the kernel may have told nobody else of them."""
        self._unwatch()
        self._thread.drop_deadline(self)
        while self._accept():
            pass

    def _unwatch(self) -> None:
        if self._watching:
            self._thread.unwatch(self._listening.fileno())
            self._watching = False

    def _ready(self, mask: int) -> None:
        if self._accept() and self._watching and not self._thread.busy:
            self._unwatch()
            self.start()

    def _accept(self) -> bool:
        """Whether there was a client and it could be had, so that there may be another."""
        try:
            client, address = accept(self._listening)
        except BlockingIOError:
            self._caught_up()
            return False
        except OSError as error:
            if error.errno in _OF_ONE_CLIENT:
                return True
            if error.errno not in OWN:
                raise
            self.pause(own_reason(error.errno or 0))
            return False
        self._welcome(client, address)
        return True

    def _caught_up(self) -> None:
        """Nobody waits, and there is a descriptor for the next (the kernel looks for that first)."""
        if self._exhausted:
            self._exhausted = False
            log.limited().info("accepting_resumed", listener=self._name())

    def pause(self, reason: str) -> None:
        """Something of ours ran out, or is forbidden: leave clients in the queue for a while."""
        if self._watching:
            self._unwatch()
            self._wait(reason)

    def _wait(self, reason: str) -> None:
        self._thread.set_deadline(self, _PAUSE)
        if not self._exhausted:
            self._exhausted = True
            log.limited().warning("accepting_paused", listener=self._name(), reason=reason)

    def expired(self) -> None:
        """As the relay thread's deadline: the pause is over. Who had to wait comes first."""
        self.start()
        while self._watching and self._accept():
            pass

    def _name(self) -> str:
        return address_text(listening_address(self._listening))
