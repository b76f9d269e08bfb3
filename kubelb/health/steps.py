"""The steps of a probe on a non-blocking socket, as generators that yield the events they have to wait for.

They run in control's main thread, inside an :class:`kubelb.health.probes.Attempt`, which owns the socket. A server's
failure comes out as :class:`OSError` or :class:`kubelb.health.http.PeerFault`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Generator
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import TypeVar

from kubelb.health import http
from kubelb.health.http import PeerFault
from kubelb.reasons import reason
from kubelb.snapshot import SocketAddress, target

T = TypeVar("T")
Steps = Generator[int, None, T]
"""Yields the events of its socket that it waits for; going on without them does no harm."""


class Waiting(Exception):
    """A socket can do that only after ``event``, which is not the one of a plain socket: TLS has to talk first."""

    def __init__(self, event: int) -> None:
        super().__init__(event)
        self.event = event


_AT_ONCE = 16 * 1024
"""Bytes; what a TLS record holds (RFC 8446, 5.1), so that none is left behind where the selector does not see it."""
_PENDING = frozenset({errno.EINPROGRESS, errno.EALREADY})


def unconnected(address: SocketAddress) -> socket.socket:
    if not address[1]:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connected(sock: socket.socket, address: SocketAddress) -> Steps[None]:
    code = sock.connect_ex(target(address))
    if code not in _PENDING:
        _check(code)
        return
    while not _has_peer(sock):
        yield EVENT_WRITE


def _has_peer(sock: socket.socket) -> bool:
    """Whether a connect under way has succeeded. Raises its error."""
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        _check(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        return False
    return True


def _check(code: int) -> None:
    if code:
        raise OSError(code, reason(code))


def patiently(operation: Callable[[], T], event: int) -> Steps[T]:
    """What ``operation`` returns once it can; ``event`` is what it waits for where TLS does not say."""
    while True:
        try:
            return operation()
        except Waiting as waiting:
            yield waiting.event
        except BlockingIOError:
            yield event


def require_silence(sock: socket.socket) -> None:
    """Raises where a connection that was not in use has ended, or said something of its own accord."""
    try:
        data = sock.recv(1)
    except (Waiting, BlockingIOError):
        return
    raise PeerFault("spoke without being asked" if data else "closed the idle connection")


def send(sock: socket.socket, data: bytes) -> Steps[None]:
    while data:
        sent = yield from patiently(partial(sock.send, data), EVENT_WRITE)
        data = data[sent:]


def receive(sock: socket.socket) -> Steps[http.Answer]:
    reading = http.answer()
    next(reading)
    while True:
        # One read a step, so that a server with much to say does not hold up the probes of others.
        yield EVENT_READ
        data = yield from patiently(partial(sock.recv, _AT_ONCE), EVENT_READ)
        try:
            reading.send(data)
        except StopIteration as end:
            answer = end.value
            assert isinstance(answer, http.Answer)
            return answer
