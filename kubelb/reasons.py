"""Why something has failed, in kubelb's own words; pure.

What the system and libraries say of themselves depends on their version, on the C library and on the locale, so it is
never shown: an error is told of by its number or its kind, and the words stand in tables.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

_BY_NUMBER: Final[Mapping[int, str]] = {
    errno.EPERM: "operation not permitted",
    errno.ENOENT: "no such file or directory",
    errno.ESRCH: "no such process",
    errno.EINTR: "interrupted system call",
    errno.EIO: "input/output error",
    errno.ENXIO: "no such device or address",
    errno.E2BIG: "argument list too long",
    errno.ENOEXEC: "not in a format that can be executed",
    errno.EBADF: "bad file descriptor",
    errno.ECHILD: "no child processes",
    errno.EAGAIN: "resource temporarily unavailable",
    errno.ENOMEM: "cannot allocate memory",
    errno.EACCES: "permission denied",
    errno.EFAULT: "bad address",
    errno.EBUSY: "device or resource busy",
    errno.EEXIST: "file exists",
    errno.EXDEV: "not on the same file system",
    errno.ENODEV: "no such device",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "is a directory",
    errno.EINVAL: "invalid argument",
    errno.ENFILE: "too many open files in system",
    errno.EMFILE: "too many open files",
    errno.ENOTTY: "not possible for such a device",
    errno.ETXTBSY: "text file busy",
    errno.EFBIG: "file too large",
    errno.ENOSPC: "no space left on device",
    errno.ESPIPE: "illegal seek",
    errno.EROFS: "read-only file system",
    errno.EMLINK: "too many links",
    errno.EPIPE: "broken pipe",
    errno.ERANGE: "result out of range",
    errno.EDEADLK: "resource deadlock avoided",
    errno.ENAMETOOLONG: "path too long",
    errno.ENOLCK: "no locks available",
    errno.ENOSYS: "function not implemented",
    errno.ENOTEMPTY: "directory not empty",
    errno.ELOOP: "too many levels of symbolic links",
    errno.EPROTO: "protocol error",
    errno.EOVERFLOW: "value too large",
    errno.EILSEQ: "invalid character",
    errno.EUSERS: "too many users",
    errno.ENOTSOCK: "not a socket",
    errno.EDESTADDRREQ: "destination address required",
    errno.EMSGSIZE: "message too long",
    errno.EPROTOTYPE: "wrong type of socket",
    errno.ENOPROTOOPT: "protocol not available",
    errno.EPROTONOSUPPORT: "protocol not supported",
    errno.ESOCKTNOSUPPORT: "type of socket not supported",
    errno.EOPNOTSUPP: "operation not supported",
    errno.EPFNOSUPPORT: "protocol family not supported",
    errno.EAFNOSUPPORT: "address family not supported",
    errno.EADDRINUSE: "address already in use",
    errno.EADDRNOTAVAIL: "cannot assign requested address",
    errno.ENETDOWN: "network is down",
    errno.ENETUNREACH: "network is unreachable",
    errno.ENETRESET: "connection dropped by network",
    errno.ECONNABORTED: "connection aborted",
    errno.ECONNRESET: "connection reset by peer",
    errno.ENOBUFS: "no buffer space available",
    errno.EISCONN: "already connected",
    errno.ENOTCONN: "not connected",
    errno.ESHUTDOWN: "connection already shut down",
    errno.ETIMEDOUT: "connection timed out",
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTDOWN: "host is down",
    errno.EHOSTUNREACH: "no route to host",
    errno.EALREADY: "operation already in progress",
    errno.EINPROGRESS: "operation now in progress",
    errno.ESTALE: "stale file handle",
    errno.EREMOTEIO: "remote input/output error",
    errno.EDQUOT: "disk quota exceeded",
    errno.ECANCELED: "operation canceled",
    # Those of getaddrinfo(3), EAI_*, are below zero.
    0: "no reason is known",
    -1: "invalid flags",
    -2: "no such name",
    -3: "no name server answers",
    -4: "the name servers fail",
    -5: "the name has no address",
    -6: "address family not supported",
    -7: "type of socket not supported",
    -8: "no such service",
    -9: "the name has no address of that family",
    -10: "cannot allocate memory",
    -12: "value too large",
}
_BY_KIND: Final[Mapping[type[OSError], int]] = {
    BlockingIOError: errno.EAGAIN,
    BrokenPipeError: errno.EPIPE,
    ChildProcessError: errno.ECHILD,
    ConnectionAbortedError: errno.ECONNABORTED,
    ConnectionRefusedError: errno.ECONNREFUSED,
    ConnectionResetError: errno.ECONNRESET,
    FileExistsError: errno.EEXIST,
    FileNotFoundError: errno.ENOENT,
    InterruptedError: errno.EINTR,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    PermissionError: errno.EACCES,
    ProcessLookupError: errno.ESRCH,
    TimeoutError: errno.ETIMEDOUT,
}
"""What Python raises by itself has no number."""


class ValueFault(ValueError):
    """What was given is not what is wanted. The text is ours: what is wrong, a semicolon, what would be right."""


class ForeignLink(OSError):
    """A symbolic link is in a path, or at its end, that is neither root's nor this process's own."""

    REASON: Final = "a symbolic link of another user's is not followed"

    def __init__(self) -> None:
        super().__init__(errno.ELOOP, self.REASON)


def reason_of(error: OSError) -> str:
    """What went wrong, as in the middle of a sentence.

    For what the kernel and the resolver say; an :class:`ssl.SSLError` has numbers of its own
    (:mod:`kubelb.tls_reasons`).
    """
    return error.REASON if isinstance(error, ForeignLink) else reason(number_of(error))


def number_of(error: OSError) -> int:
    """The error number, also of what Python has raised by itself; 0: none is known."""
    if error.errno is not None:
        return error.errno
    return next((number for kind, number in _BY_KIND.items() if isinstance(error, kind)), 0)


def reason(number: int) -> str:
    """The same of an error number: a socket's pending error, or one that getaddrinfo(3) gives."""
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    return f"{errno.errorcode[number]} ({number})" if number in errno.errorcode else f"error {number}"


def failed(call: str, error: Exception) -> str:
    """A system call's failure as nginx tells of it, also of one that Python has not even tried."""
    if not isinstance(error, OSError):
        return f"{call} failed"
    words = reason_of(error)
    return f"{call} failed ({number_of(error)}: {words[0].upper()}{words[1:]})"


def reason_of_path(error: ValueError) -> str:
    """Why a text cannot be the path of a file, where Python refuses to ask the kernel for it."""
    if isinstance(error, UnicodeError):
        return "the path has characters that this locale cannot write"
    return "the path has a NUL character"
