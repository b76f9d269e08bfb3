"""System calls that fail, by real filters in the kernel (seccomp(2)): for a whole process, or on one thread.

A filter is for good, and for all that its thread starts.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Final, TypeVar

from tests.support.requirements import missing

_NUMBERS: Final[Mapping[str, Mapping[str, int]]] = {
    "x86_64": dict(accept4=288, connect=42, pipe2=293, seccomp=317, socket=41, splice=275),
    "aarch64": dict(accept4=242, connect=203, pipe2=59, seccomp=277, socket=198, splice=76),
}
"""Of the calls, by machine."""
_LOAD_NUMBER, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _NOTIFY, _ALLOW = 0x00050000, 0x7FC00000, 0x7FFF0000
_PR_SET_NO_NEW_PRIVS, _SET_FILTER, _NEW_LISTENER = 38, 1, 8
_RECEIVE, _SEND, _GO_ON = 0xC0502100, 0xC0182101, 1
"""SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND and SECCOMP_USER_NOTIF_FLAG_CONTINUE of linux/seccomp.h."""
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def require_filters() -> None:
    """Without the numbers of this machine's system calls the test does not run."""
    if platform.machine() not in _NUMBERS:
        missing(f"the numbers of system calls on {platform.machine()}")


def refuse(call: str, code: int) -> None:
    """From now on ``call`` fails with that errno, for the calling thread and all that it starts."""
    _put_filter(call, _ERRNO | code)


def where_refused(call: str, code: int, run: Callable[[], T]) -> T:
    """What ``run`` gives, or raises, on a thread of its own where ``call`` fails with that errno."""

    def confined() -> T:
        refuse(call, code)
        return run()

    require_filters()
    result: Future[T] = Future()
    _started(confined, result).join()
    return result.result()


def where_refused_once(call: str, code: int, run: Callable[[], T]) -> T:
    """As :func:`where_refused`, but later calls are the kernel's as ever.

    Not for those during which the interpreter lets no other thread run, such as :func:`os.pipe2`.
    """

    def confined() -> T:
        try:
            _settle(listener, lambda: _put_filter(call, _NOTIFY, _NEW_LISTENER))
            return run()
        finally:
            os.close(done)

    require_filters()
    over, done = os.pipe()
    listener: Future[int] = Future()
    result: Future[T] = Future()
    thread = _started(confined, result)
    try:
        _refuse_first(listener.result(), over, code)
        return result.result()
    finally:
        thread.join()
        os.close(over)
        if not listener.exception():
            os.close(listener.result())


def _started(run: Callable[[], T], result: Future[T]) -> threading.Thread:
    thread = threading.Thread(target=_settle, args=(result, run), name="confined")
    thread.start()
    return thread


def _settle(result: Future[T], run: Callable[[], T]) -> None:
    try:
        result.set_result(run())
    except BaseException as error:
        result.set_exception(error)


def _refuse_first(listener: int, over: int, code: int) -> None:
    """Say of each call what is to become of it, until the other end of ``over`` is closed."""
    poll = select.poll()
    for fd in (listener, over):
        poll.register(fd, select.POLLIN)
    while not any(fd == over for fd, _ in poll.poll()):
        asked = bytearray(80)
        fcntl.ioctl(listener, _RECEIVE, asked)
        (number,) = struct.unpack_from("Q", asked)
        fcntl.ioctl(listener, _SEND, struct.pack("QqiI", number, 0, -code, 0 if code else _GO_ON))
        code = 0


def _put_filter(call: str, verdict: int, flags: int = 0) -> int:
    """On the calling thread: what seccomp(2) gives."""
    numbers = _NUMBERS[platform.machine()]
    steps = (
        (_LOAD_NUMBER, 0, 0, 0),
        (_JUMP_EQUAL, 0, 1, numbers[call]),
        (_RETURN, 0, 0, verdict),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
    given = -1
    if not _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        given = _libc.syscall(numbers["seccomp"], _SET_FILTER, flags, ctypes.byref(program))
    if given < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return given


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
