"""The operator's own files that probes use, read anew once they have changed: authorities, certificate, key, token.

Used by control's main thread. The files are small and local; what is not a regular file is not opened, so reading
never waits. Each descriptor is closed where it was opened.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from kubelb.reasons import reason_of

Stamp = tuple[int, ...] | None
"""Inode, size and time of change of a file; None: it cannot be seen."""

_MAX_TOKEN = 64 * 1024
_TOKEN = re.compile(rb"[!-~]+")


class OwnFault(Exception):
    """What the operator gave us for probes cannot be used, which says nothing about the server. The text begins with
    "own " and says what it is and why."""


def unusable(file: str, why: str) -> OwnFault:
    return OwnFault(f"own file {file}: {why}")


def read_token(file: str) -> str:
    """The bearer token in it. Raises :class:`OwnFault`."""
    check(file)
    try:
        with Path(file).open("rb") as opened:
            token = opened.read(_MAX_TOKEN + 1).strip()
    except OSError as error:
        raise unusable(file, reason_of(error)) from None
    if len(token) > _MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise unusable(file, "not a bearer token")
    return token.decode("ascii")


def stamp(file: str) -> Stamp:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def check(file: str) -> None:
    """Raises :class:`OwnFault` for what cannot be read or might be waited for."""
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):
            raise unusable(file, "not a regular file")
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise unusable(file, reason_of(error)) from None
