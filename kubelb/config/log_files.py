"""The files that logs are written to, opened once to see whether they can be: as nginx's ``-t`` does it, which makes
those that are not there. Closes what it opens; used before the processes start and, later, in the supervisor and its
reader.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator

from kubelb.config.faults import Fault, Key, Places, fault_at
from kubelb.config.log_targets import log_targets, request_logs
from kubelb.config.model.config import Config
from kubelb.opening import Opened, open_to_append
from kubelb.reasons import reason_of, reason_of_path

STANDARD = ("/dev/stdout", "/dev/stderr")
"""What the process has open already: it may be systemd's journal, a socket that cannot be opened by name."""


def log_file_faults(config: Config, places: Places) -> tuple[Fault, ...]:
    """One fault, at its setting's place, for each file that cannot be appended to."""
    return _faults(config.process.user, places, (*_event_logs(config), *_access_logs(config)))


def access_log_faults(config: Config, places: Places) -> tuple[Fault, ...]:
    """The same of access logs alone, as the user who asks: events are written to what the supervisor has opened."""
    return _faults(None, places, _access_logs(config))


def _faults(user: str | None, places: Places, logs: Iterable[tuple[Key, str]]) -> tuple[Fault, ...]:
    made = ((key, path, make_log_file(path, user)) for key, path in logs)
    return tuple(fault_at(places, key, f'"{path}" cannot be opened: {what}') for key, path, what in made if what)


def _event_logs(config: Config) -> Iterator[tuple[Key, str]]:
    """The setting and the file."""
    for key, target in log_targets(config.log):
        if target.file is not None:
            yield (*key, "file"), target.file


def _access_logs(config: Config) -> Iterator[tuple[Key, str]]:
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
    (``ngx_reopen_files``, src/core/ngx_cycle.c): if it has made it, or if nobody else can have put it there.
    """
    if path in STANDARD:
        return None
    try:
        opened = open_to_append(path)
        try:
            _give(opened, user)
        finally:
            os.close(opened.fd)
    except OSError as error:
        return reason_of(error)
    except ValueError as error:
        return reason_of_path(error)
    return None


def open_log(path: str) -> int:
    """A descriptor to append to, the caller's; the file is made if it is not there. Raises :class:`OSError`."""
    return open_to_append(path).fd


def _give(opened: Opened, user: str | None) -> None:
    status = os.fstat(opened.fd)
    if user is None or os.geteuid() != 0 or not stat.S_ISREG(status.st_mode):
        return
    if not opened.made and (not opened.unshared or status.st_nlink > 1):
        return  # Whoever has put it there may have had it from elsewhere.
    try:
        owner = pwd.getpwnam(user).pw_uid
    except KeyError:
        return  # Whoever starts the processes says so.
    if status.st_uid != owner:
        os.fchown(opened.fd, owner, -1)
        os.fchmod(opened.fd, stat.S_IMODE(status.st_mode) | stat.S_IRUSR | stat.S_IWUSR)
