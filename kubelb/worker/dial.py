"""Connects an accepted client to a server: tries one after the other, each at most once, none for too long.

Runs on its relay thread, as connects complete: the sockets are non-blocking and no thread waits for a server that
does not answer. A dial owns the client's socket and that of the server it is trying, until it hands both on as a
session or closes them: with a reset where no server is left, so that the client knows at once.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from socket import SocketType

from kubelb import log
from kubelb.relay.pipes import OUT_OF_DESCRIPTORS
from kubelb.relay.session import Session
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Listener, Server
from kubelb.worker.books import Books, Visit
from kubelb.worker.sockets import connection, reset
from kubelb.worker.view import PoolView

EXHAUSTED = OUT_OF_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}
"""Our own want of descriptors or memory: no server's fault, and it passes."""
_PENDING = frozenset({errno.EINPROGRESS, errno.EALREADY})
_RETRY = 0.1
"""Seconds between two looks whether a descriptor is free again."""


class Dial:
    """One client on its way to a server; ``wheel_key`` is the relay thread's."""

    __slots__ = (
        "_begun", "_books", "_client", "_exhausted", "_from", "_give_up_at", "_listener", "_position", "_server",
        "_sock", "_thread", "_tried", "_view", "wheel_key",
    )  # fmt: skip

    def __init__(
        self,
        client: SocketType,
        client_address: tuple[str, int],
        listener: Listener,
        view: PoolView,
        thread: RelayThread,
        books: Books,
        exhausted: Callable[[], None],
    ) -> None:
        """``exhausted`` is told when descriptors ran out."""
        self._client = client
        self._from = client_address
        self._listener = listener
        self._view = view
        self._thread = thread
        self._books = books
        self._exhausted = exhausted
        self._tried: tuple[int, ...] = ()
        self._server: Server
        self._position = -1
        self._begun = 0.0
        self._sock: SocketType | None = None
        self._give_up_at = thread.now + listener.connect_timeout
        self.wheel_key = 0

    def begin(self) -> None:
        """Try servers until one is being waited for, has accepted, or none is left."""
        while True:
            position = self._view.pick(self._from[0], self._tried, self._thread.now)
            if position is None:
                self._refuse()
                return
            self._server, self._position = self._view.pool.servers[position], position
            self._begun = self._thread.now
            try:
                sock = self._sock = connection(self._server.address)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._view.release(self._server)
                    self._wait_for_a_descriptor()
                    return
                failure = error.errno
            else:
                failure = self._connect(sock)
            if failure is None:
                return
            self._drop(failure)

    def _connect(self, sock: SocketType) -> int | None:
        """Start connecting; the errno if that failed at once."""
        # A server on this machine has answered by the time connect() returns; asking again tells, and saves a poll.
        code = sock.connect_ex(self._server.address)
        if code == errno.EINPROGRESS:
            code = sock.connect_ex(self._server.address)
        if code == 0:
            self._connected(sock)
        elif code in _PENDING:
            self._thread.watch(sock.fileno(), select.EPOLLOUT, self._answered)
            self._thread.set_deadline(self, self._listener.connect_timeout)
        else:
            return code
        return None

    def _answered(self, mask: int) -> None:
        """The connect under way has completed, well or badly."""
        sock = self._forget()
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._drop(code)
            self.begin()
        else:
            self._connected(sock)

    def expired(self) -> None:
        """As the relay thread's deadline: the server did not answer in time, or a descriptor may be free again."""
        if self._sock is not None:
            self._forget()
            self._drop(errno.ETIMEDOUT)
        self.begin()

    def _forget(self) -> SocketType:
        assert self._sock is not None
        self._thread.unwatch(self._sock.fileno())
        self._thread.drop_deadline(self)
        return self._sock

    def _drop(self, code: int) -> None:
        """The server being tried has failed."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._tried = (*self._tried, self._position)
        self._view.release(self._server)
        self._view.failed(self._server, self._thread.now, os.strerror(code).lower())

    def _connected(self, sock: SocketType) -> None:
        thread, listener, server = self._thread, self._listener, self._server
        self._view.passed(server, self._begun)
        visit = Visit(self._from, listener, server, thread.now)
        thread.adopt(Session(self._client, sock, server.slot, thread.now, listener.idle_timeout, visit))

    def _wait_for_a_descriptor(self) -> None:
        self._exhausted()
        if self._thread.now >= self._give_up_at:
            self._refuse()
        else:
            self._thread.set_deadline(self, _RETRY)

    def _refuse(self) -> None:
        reset(self._client)
        self._books.refused()
        log.get().debug("no_server", pool=self._view.pool.name, client=self._from[0], tried=len(self._tried))
