"""System calls of the data plane that fail, one after the other: the n-th, and maybe some after it.

They fail on relay threads only, by whose names these are told, and only with errnos that their manual pages name.
What fails does nothing, but for close(2), which closes all the same.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest

from kubelb.relay import splice
from kubelb.worker import handed, sockets

_MEMORY: Final = (errno.ENOMEM,)
_BUFFERS: Final = (errno.ENOBUFS, errno.ENOMEM)
_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
ERRNOS: Final[Mapping[str, tuple[int, ...]]] = {
    "pipe2": (*_DESCRIPTORS, errno.EPERM),
    "F_SETPIPE_SZ": (errno.ENOMEM, errno.EPERM, errno.EBUSY),
    "F_GETPIPE_SZ": (errno.EPERM, errno.ENOMEM),
    "splice": _MEMORY,
    "readv": _MEMORY,
    "write": _BUFFERS,
    "dup": (errno.EMFILE,),
    "memfd_create": _DESCRIPTORS,
    "sendmsg": (*_BUFFERS, errno.ETOOMANYREFS),
    "sendall": _BUFFERS,
    "recvmsg": _MEMORY,
    "eventfd": _DESCRIPTORS,
    "epoll_create": _DESCRIPTORS,
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC),
    "accept": (*_DESCRIPTORS, errno.ENOBUFS, errno.ECONNABORTED, errno.EPROTO),
    "socket": (*_DESCRIPTORS, errno.ENOBUFS),
    "connect": (errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EPERM),
    "send": _BUFFERS,
    "recv": _MEMORY,
    "setsockopt": _BUFFERS,
    "getsockname": _BUFFERS,
    "shutdown": _BUFFERS,
    "close": (errno.EINTR, errno.EIO),
    "clone": (errno.EAGAIN,),
}
_METHODS: Final = ("setsockopt", "getsockname", "shutdown", "send", "recv")
"""Of a socket, whose names are those of the calls that they make."""
_PIPE_SIZES: Final = {fcntl.F_SETPIPE_SZ: "F_SETPIPE_SZ", fcntl.F_GETPIPE_SZ: "F_GETPIPE_SZ"}


class Failing:
    """Counts the calls, from :meth:`arm` on, and has those fail that are to."""

    def __init__(self) -> None:
        self.calls = 0
        self.failed: list[str] = []
        """Those that were made to."""
        self._from = self._until = 0
        self._choice = 0
        self._only = ""
        self._lock = threading.Lock()

    def arm(self, number: int, choice: int, count: int = 1, only: str = "") -> None:
        """So many calls fail from the one of this number on, which is 1 for the next; ``choice`` is of the errnos,
        ``only`` the call that is counted, if not each."""
        with self._lock:
            self.calls, self._from, self._until, self._choice = 0, number, number + count, choice
            self._only = only

    def disarm(self) -> None:
        self.arm(0, 0, 0)

    def fails(self, name: str) -> int:
        """Called in a call's place: the errno it is to fail with, or 0."""
        if not threading.current_thread().name.startswith(("relay", "alone")):
            return 0
        with self._lock:
            if self._only not in ("", name):
                return 0
            self.calls += 1
            if not self._from <= self.calls < self._until:
                return 0
            errnos = ERRNOS[name]
            code = errnos[self._choice % len(errnos)]
            self.failed.append(f"{name}: {errno.errorcode[code]}")
            return code

    def instead(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def failing(*args: Any, **kwargs: Any) -> Any:
            if code := self.fails(name):
                raise OSError(code, "made to fail")
            return call(*args, **kwargs)

        return failing

    def widening(self, call: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(call)
        def failing(fd: int, command: int, *argument: int) -> int:
            name = _PIPE_SIZES.get(command)
            if name is not None and (code := self.fails(name)):
                raise OSError(code, "made to fail")
            return call(fd, command, *argument)

        return failing

    def closing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def failing(*args: Any) -> Any:
            call(*args)
            if code := self.fails("close"):
                raise OSError(code, "made to fail")

        return failing

    def socket_type(self) -> type[socket.SocketType]:
        """A socket of the data plane, whose methods are system calls that fail."""
        real = socket.SocketType

        def __init__(sock: Any, *args: Any, **kwargs: Any) -> None:
            if len(args) < 4 and "fileno" not in kwargs and (code := self.fails("socket")):
                raise OSError(code, "made to fail")
            real.__init__(sock, *args, **kwargs)

        def connect_ex(sock: Any, address: Any) -> int:
            return self.fails("connect") or real.connect_ex(sock, address)

        made = {"__init__": __init__, "connect_ex": connect_ex, "close": self.closing(real.close)}
        made |= {name: self.instead(name, getattr(real, name)) for name in _METHODS}
        return type("FailingSocket", (real,), made)


class _Epoll:
    """select.epoll() cannot be changed; this stands around one."""

    def __init__(self, failing: Failing, real: Callable[[], select.epoll]) -> None:
        self._epoll = failing.instead("epoll_create", real)()
        self.poll = self._epoll.poll
        self.close = self._epoll.close
        self.register = failing.instead("epoll_ctl", self._epoll.register)
        self.modify = failing.instead("epoll_ctl", self._epoll.modify)
        self.unregister = failing.instead("epoll_ctl", self._epoll.unregister)


@contextmanager
def failing_calls() -> Iterator[Failing]:
    """Within, relay threads that are started make calls that can be made to fail."""
    failing = Failing()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pipe2", "readv", "write", "dup", "memfd_create", "eventfd"):
            patch.setattr(os, name, failing.instead(name, getattr(os, name)))
        patch.setattr(fcntl, "fcntl", failing.widening(fcntl.fcntl))
        patch.setattr(os, "close", failing.closing(os.close))
        patch.setattr(splice, "splice", failing.instead("splice", os.splice))
        patch.setattr(select, "epoll", functools.partial(_Epoll, failing, select.epoll))
        for name, call in (
            ("_accept", "accept"),
            ("sendmsg", "sendmsg"),
            ("sendall", "sendall"),
            ("recvmsg", "recvmsg"),
        ):
            patch.setattr(socket.socket, name, failing.instead(call, getattr(socket.socket, name)), raising=False)
        patch.setattr(sockets, "SocketType", failing.socket_type())
        patch.setattr(handed, "SocketType", failing.socket_type())
        patch.setattr(threading.Thread, "start", _starting(failing, threading.Thread.start))
        yield failing


def _starting(failing: Failing, start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def started(thread: threading.Thread) -> None:
        if failing.fails("clone"):
            raise RuntimeError("made to fail")
        start(thread)

    return started
