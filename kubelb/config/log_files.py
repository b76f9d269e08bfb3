"""The files that logs are written to, opened once to see whether they can be: as nginx's ``-t`` does it, which makes
those that are not there. Closes what it opens; used before the processes start and, later, in the supervisor and the
control process.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator

from kubelb.config.faults import Fault, Key, Places, fault_at
from kubelb.config.log_targets import log_targets, request_logs
from kubelb.config.model.config import Config
from kubelb.reasons import reason_of, reason_of_path

STANDARD = ("/dev/stdout", "/dev/stderr")
"""What the process has open already: it may be systemd's journal, a socket that cannot be opened by name."""


def log_file_faults(config: Config, places: Places) -> tuple[Fault, ...]:
    """One fault, at its setting's place, for each file that cannot be appended to."""
    made = ((key, path, make_log_file(path, config.process.user)) for key, path in _log_files(config))
    return tuple(fault_at(places, key, f'"{path}" cannot be opened: {what}') for key, path, what in made if what)


def _log_files(config: Config) -> Iterator[tuple[Key, str]]:
    """The setting and the file."""
    for key, target in log_targets(config.log):
        if target.file is not None:
            yield (*key, "file"), target.file
    for i, listener in enumerate(config.listeners):
        for j, log in enumerate(listener.access_logs):
            if log.syslog is None:
                yield ("listener", i, "access_log", j, "file"), log.file
    for key, log in request_logs(config.http):
        if log.syslog is None:
            yield (*key, "file"), log.file


def make_log_file(path: str, user: str | None) -> str | None:
    """Make the file if it is not there; why it cannot be appended to, if so.

    Root gives it to ``user``, who is to open it later, as nginx does when it opens its logs anew
    (``ngx_reopen_files``, src/core/ngx_cycle.c).
    """
    if path in STANDARD:
        return None
    try:
        fd = open_log(path)
        try:
            _give(fd, user)
        finally:
            os.close(fd)
    except OSError as error:
        return reason_of(error)
    except ValueError as error:
        return reason_of_path(error)
    return None


def open_log(path: str) -> int:
    """A descriptor to append to, the caller's; the file is made if it is not there. Raises :class:`OSError`."""
    # Nobody waits for whoever would read a FIFO.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    fd = os.open(path, flags, 0o644)
    os.set_blocking(fd, True)
    return fd


def _give(fd: int, user: str | None) -> None:
    status = os.fstat(fd)
    if user is None or os.geteuid() != 0 or not stat.S_ISREG(status.st_mode):
        return
    try:
        owner = pwd.getpwnam(user).pw_uid
    except KeyError:
        return  # Whoever starts the processes says so.
    if status.st_uid != owner:
        os.fchown(fd, owner, -1)
        os.fchmod(fd, stat.S_IMODE(status.st_mode) | stat.S_IRUSR | stat.S_IWUSR)
