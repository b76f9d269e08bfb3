"""Read the operator's files, with a fault for whatever may be wrong with one. Opens and closes them itself; used
before the processes start and, later, in the supervisor's reader."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.kubeconfig import Pem
from kubelb.reasons import reason_of, reason_of_path

MAX_BYTES: Final = 1 << 20
"""No configuration is larger; a larger file is a mistake, and is not read to its end."""


def read_text(path: str) -> str:
    """The file's text. :class:`ConfigFault`: it cannot be read, is larger than :data:`MAX_BYTES`, or not UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise ConfigFault(Fault(file=path, line=line, what=what)) from None


def read_bytes(path: str) -> bytes:
    """As :func:`read_text`, whatever the bytes. What is no regular file is refused: it may have no end."""
    try:
        with open(path, "rb", opener=_open) as file:
            # None: one of the kernel's own, such as /proc/kmsg, that has nothing to tell yet.
            data = file.read(MAX_BYTES + 1) or b""
    except OSError as error:
        raise ConfigFault(Fault(file=path, what=f"cannot be read: {reason_of(error)}")) from None
    except _IrregularError:
        raise ConfigFault(Fault(file=path, what="cannot be read: not a regular file")) from None
    except ValueError as error:
        raise ConfigFault(Fault(file=path, what=f"cannot be read: {reason_of_path(error)}")) from None
    if len(data) > MAX_BYTES:
        raise ConfigFault(Fault(file=path, what="larger than 1 MiB", instead="give a configuration file"))
    return data


def pem_path(pem: Pem) -> AbstractContextManager[str]:
    """Where it can be read within, by OpenSSL, which takes certificates and keys from files alone."""
    return nullcontext(pem.name) if pem.data is None else _as_file(pem.data)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of a file that holds these bytes and is on no disk (memfd_create(2)); it exists within."""
    fd = os.memfd_create("kubelb")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _open(path: str, flags: int) -> int:
    """Without waiting for whoever would write to a FIFO."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    raise _IrregularError


class _IrregularError(Exception):
    """It is no regular file, and no directory."""
