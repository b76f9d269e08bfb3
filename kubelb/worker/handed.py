"""A session that another relay thread gives, made of its record and of the descriptors that came along.

Used on the relay thread that takes it. The giver is another process, which may be in a stranger's hands: each
descriptor is looked at before it is used, so that what is none of a session costs no more than this one. A descriptor
is asked only what its kernel object answers by itself, for one of a file may never get an answer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import termios
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from socket import SocketType
from typing import Final

from kubelb.relay.flow import State
from kubelb.relay.pipes import borrowed
from kubelb.relay.session import Flow, LimitedFlow, Session, close, reset_on_close
from kubelb.wire.channel import close_all
from kubelb.wire.messages import FlowHanded, Handed
from kubelb.worker.books import Visit

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_OF_ANOTHER_KIND: Final = (errno.ENOTSOCK, errno.EBADF, errno.EINVAL, errno.ENOTTY, errno.ESPIPE)
"""What the kernel answers who asks a descriptor for what one of its kind does not have."""


class WrongSession(Exception):
    """What came is no session that can be gone on with; the text says why."""


def descriptors_of(message: Handed) -> int:
    """How many belong to it."""
    return 2 + _ends(message.up) + _ends(message.down)


def session_of(message: Handed, fds: list[int]) -> Session:
    """The descriptors are its own from now on, and none is left open where it raises anything: :class:`WrongSession`,
    once both connections are to end by a reset; :class:`OSError` and :class:`MemoryError`."""
    rest = deque(fds)
    with ExitStack() as undo:
        undo.callback(close_all, rest)
        try:
            _check(message, fds)
        except WrongSession:
            for fd in fds[:2]:
                _reset_on_close(fd)
            raise
        client, server = (_socket(rest, undo) for _ in range(2))
        session = _unmoved(message, client, server)
        for flow, handed in ((session.up, message.up), (session.down, message.down)):
            _continue(flow, handed)
            if handed.held:
                flow.held = borrowed([rest.popleft() for _ in range(_ends(handed))], handed.held)
                undo.callback(flow.held.close)
        undo.pop_all()
    session.counted = (session.up.moved, session.down.moved)
    return session


def _check(message: Handed, fds: Sequence[int]) -> None:
    """Raises :class:`WrongSession`, and :class:`OSError` for limits of our own."""
    if len(fds) != descriptors_of(message):
        raise WrongSession(f"{len(fds)} descriptors came with it")
    try:
        for fd in fds[:2]:
            _check_connection(fd)
        rest = deque(fds[2:])
        for flow in (message.up, message.down):
            _check_flow(flow, [rest.popleft() for _ in range(_ends(flow))])
    except OSError as error:
        if error.errno not in _OF_ANOTHER_KIND:
            raise
        raise WrongSession("a descriptor is of another kind") from None


def _check_connection(fd: int) -> None:
    sock = SocketType(fileno=fd)
    try:
        is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.type != socket.SOCK_STREAM or sock.family not in _FAMILIES or is_listening:
            raise WrongSession("a socket is of another kind")
    finally:
        sock.detach()
    os.set_blocking(fd, False)


def _check_flow(flow: FlowHanded, ends: Sequence[int]) -> None:
    """``ends`` are the descriptors of what it holds."""
    if (flow.state == State.BLOCKED) != bool(flow.held) or (flow.state == State.RESTING and not flow.rate):
        raise WrongSession("its state is none that a session can be in")
    if len(ends) == 2:
        _check_pipe(ends[0], ends[1], flow.held)
    elif ends:
        _check_file(ends[0], flow.held)


def _check_pipe(read: int, write: int, held: int) -> None:
    """It has exactly what the record says: a byte more would go to whoever uses it next, one less never comes."""
    for fd, access in ((read, os.O_RDONLY), (write, os.O_WRONLY)):
        fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != access:
            raise WrongSession("an end of a pipe is the other one")
        os.set_blocking(fd, False)
    if not os.path.sameopenfile(read, write):
        raise WrongSession("two ends are not of one pipe")
    _check_size(int.from_bytes(fcntl.ioctl(read, termios.FIONREAD, bytes(4)), sys.byteorder), held)


def _check_file(fd: int, held: int) -> None:
    """It is of memory, where nobody can make a reader wait."""
    fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    _check_size(os.fstat(fd).st_size, held)


def _check_size(size: int, held: int) -> None:
    if size != held:
        raise WrongSession(f"{size} bytes came with it in place of {held}")


def _ends(flow: FlowHanded) -> int:
    """How many descriptors it needs for what it holds."""
    return (2 if flow.in_pipe else 1) if flow.held else 0


def _reset_on_close(fd: int) -> None:
    with suppress(OSError):  # It is none of a socket.
        sock = SocketType(fileno=fd)
        reset_on_close(sock)
        sock.detach()


def _socket(rest: deque[int], undo: ExitStack) -> SocketType:
    """That of the first descriptor, which is taken out."""
    sock = SocketType(fileno=rest[0])
    rest.popleft()
    undo.callback(close, sock)
    return sock


def _unmoved(message: Handed, client: SocketType, server: SocketType) -> Session:
    visit = Visit(
        message.client, message.listener, message.server, message.opened_at, message.opening, message.counted_as
    )
    rates, listener = (message.up.rate, message.down.rate), message.listener
    return Session(
        client,
        server,
        message.slot,
        0.0,
        message.idle_timeout,
        visit,
        rates=rates,
        half_close=listener.half_close,
        half_close_timeout=listener.half_close_timeout,
    )


def _continue(flow: Flow, handed: FlowHanded) -> None:
    flow.state, flow.moved, flow.moved_at = State(handed.state), handed.moved, handed.moved_at
    flow.first_at = handed.first_at
    if isinstance(flow, LimitedFlow):
        flow.due = handed.due
