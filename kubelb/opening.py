"""Opens files to be written to, also where their directory is somebody else's, who may put there what it likes.

The supervisor may be root, and a log's directory may belong to the user whom the workers run as, as /var/log/nginx
does on many systems. Whoever has a directory can put a symbolic link in the place of a file or of a directory in it;
root that followed the link would write to whatever it leads to. So a link is followed where it is root's own or this
process's own, anywhere in the path, and nobody else's: as ``fs.protected_symlinks`` has it in directories that
everybody may write to (proc_sys_fs(5)). Every step is taken from the directory that was looked at.

The descriptors are the caller's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from kubelb.reasons import ForeignLink, reason

_LINKS = 40
"""Followed at most in one path, as by the kernel."""
_TRIES = 10
"""As often it may have changed while it was looked at."""
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Opened(NamedTuple):
    fd: int
    made: bool
    """It was not there before."""
    unshared: bool
    """Nobody but root and this process's user can have put it where it is."""


def open_to_append(path: str) -> Opened:
    """A log, made if it is not there. Nobody waits for whoever would read a FIFO. Raises :class:`OSError`."""
    opened = open_to_write(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
    os.set_blocking(opened.fd, True)
    return opened


def open_to_write(path: str, flags: int) -> Opened:
    """Without waiting; the file is made, with mode 0644, if it is not there.

    Raises :class:`OSError` with the path as its ``filename``, :class:`~kubelb.reasons.ForeignLink` for a link that is
    not followed, and :class:`ValueError` for what can be no path.
    """
    try:
        with closing(_Way(path)) as way:
            return way.to_its_end(flags | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        error.filename = path
        raise


class _Way:
    """Through the directories of a path; it owns the descriptor of the one that it is in."""

    def __init__(self, path: str) -> None:
        if not path:
            raise _error(errno.ENOENT)
        self._rest: deque[str] = deque()
        self._links = 0
        self._unshared = True
        self._directory = os.open("/" if path.startswith("/") else ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._go_on_with(path)
        self._come_to(self._directory)

    def close(self) -> None:
        os.close(self._directory)

    def _go_on_with(self, path: str) -> None:
        """From where it is now, in place of what has been gone by last."""
        if path.endswith("/"):
            path += "."
        self._rest.extendleft(reversed([name for name in path.split("/") if name]))

    def to_its_end(self, flags: int) -> Opened:
        for _ in range(_LINKS + _TRIES):
            while len(self._rest) > 1:
                self._step()
            opened = self._open(flags)
            if opened is not None:
                return opened
        raise _error(errno.ELOOP)

    def _step(self) -> None:
        """Into the next directory, or to where a link leads."""
        name = self._rest.popleft()
        found = os.open(name, _STEP, dir_fd=self._directory)
        try:
            mode = os.fstat(found).st_mode
            if stat.S_ISLNK(mode) and not self._follow(found):
                found, link = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self._directory), found
                os.close(link)
                mode = os.fstat(found).st_mode
            if stat.S_ISDIR(mode):
                self._directory, found = found, self._directory
                self._come_to(self._directory)
            elif not stat.S_ISLNK(mode):
                raise _error(errno.ENOTDIR)
        finally:
            os.close(found)

    def _come_to(self, directory: int) -> None:
        status = os.fstat(directory)
        others = stat.S_IWOTH if len(self._rest) > 1 else stat.S_IWGRP | stat.S_IWOTH
        shared = status.st_mode & others and not status.st_mode & stat.S_ISVTX
        self._unshared = self._unshared and not shared and _is_trusted(status)

    def _open(self, flags: int) -> Opened | None:
        """The last of all; None: it was a link, and the way goes on, or it has changed meanwhile."""
        name = self._rest[0]
        with suppress(FileExistsError):
            made = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=self._directory)
            return Opened(made, True, self._unshared)
        try:
            fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=self._directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return self._through_link(flags)
        return Opened(fd, False, self._unshared)

    def _through_link(self, flags: int) -> Opened | None:
        name = self._rest.popleft()
        link = os.open(name, _STEP, dir_fd=self._directory)
        try:
            if not stat.S_ISLNK(os.fstat(link).st_mode):
                self._rest.appendleft(name)
            elif not self._follow(link):
                return Opened(os.open(name, flags, dir_fd=self._directory), False, False)
        finally:
            os.close(link)
        return None

    def _follow(self, link: int) -> bool:
        """Go on by what a link says; whether that can be: those of /proc lead where no path does.

        Raises :class:`~kubelb.reasons.ForeignLink`.
        """
        self._links += 1
        if self._links > _LINKS:
            raise _error(errno.ELOOP)
        if not _is_trusted(os.fstat(link)):
            raise ForeignLink
        if os.fstat(link).st_dev == _device("/proc"):
            return False
        path = os.readlink("", dir_fd=link)
        if path.startswith("/"):
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._directory, before = root, self._directory
            os.close(before)
            self._come_to(root)
        self._go_on_with(path)
        return True


def _is_trusted(status: os.stat_result) -> bool:
    """Whether it is root's, or this process's own."""
    return status.st_uid in (0, os.geteuid())


def _device(path: str) -> int | None:
    try:
        return Path(path).stat().st_dev
    except OSError:
        return None


def _error(number: int) -> OSError:
    return OSError(number, reason(number))
