"""Whom the children run as, and where: the user, the CPUs and the priority that the configuration gives them.

The supervisor binds, opens and stays what it was started as; each child calls :func:`assume` right after its fork, as
nginx's workers do (``ngx_worker_process_init``, src/os/unix/ngx_process_cycle.c).
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from kubelb import log
from kubelb.config.credentials import credential_faults
from kubelb.config.faults import ConfigFault, Places, fault_at
from kubelb.config.log_files import access_log_faults
from kubelb.config.model.config import Config, Process
from kubelb.reasons import reason, reason_of

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38


class Identity(NamedTuple):
    """Of a user and a group of this machine."""

    user: str
    uid: int
    gid: int


def identity(process: Process, places: Places = {}) -> Identity | None:  # noqa: B006 (never changed)
    """Whom children are to become; None: nobody else. Only root can become somebody.

    Raises :class:`ConfigFault` for a user or a group that this machine does not know.
    """
    if process.user is None or os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(process.user)
    except (KeyError, ValueError):
        raise ConfigFault(fault_at(places, ("process", "user"), f'getpwnam("{process.user}") failed')) from None
    if process.group is None:
        return Identity(process.user, user.pw_uid, user.pw_gid)
    try:
        group = grp.getgrnam(process.group)
    except (KeyError, ValueError):
        what = f'getgrnam("{process.group}") failed'
        raise ConfigFault(fault_at(places, ("process", "group"), what, "write the group beside the user")) from None
    return Identity(process.user, user.pw_uid, group.gr_gid)


def check_user(config: Config, places: Places) -> None:
    """Raises :class:`ConfigFault` as :func:`identity`, and for files of probes that the user may not read, and of
    access logs that it may not write."""
    whom = identity(config.process, places)
    if whom is None:
        return
    with _as_if(whom):
        faults = (*credential_faults(config, places), *access_log_faults(config, places))
    if faults:
        raise ConfigFault(*(msgspec.structs.replace(fault, what=f"{fault.what} as {whom.user}") for fault in faults))


@contextmanager
def _as_if(whom: Identity) -> Iterator[None]:
    """Within, files are opened as by ``whom``. Only for root, and while there is one thread."""
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(whom.user, whom.gid))
    os.setegid(whom.gid)
    os.seteuid(whom.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def ignored_user(process: Process) -> str | None:
    """Of a configuration that names a user nobody here can become: a line for the operator."""
    if process.user is None or os.geteuid() == 0:
        return None
    return f'user "{process.user}" has no effect: only root can become somebody else'


def allowed(process: Process, worker: int, cpus: Sequence[int]) -> Sequence[int]:
    """The CPUs that a worker may use, out of the ``cpus`` that there are unless it is told which."""
    masks = process.cpus
    return masks[min(worker, len(masks) - 1)] if masks else cpus


def assume(process: Process, whom: Identity | None, worker: int | None = None) -> None:
    """In a child: become ``whom``; a ``worker``, by its number, also takes its CPUs and its priority.

    It never gets more rights than it has then, by whatever it runs, and no other process of that user gets at its
    memory and descriptors, also where ``fs.suid_dumpable`` would have it so (prctl(2), ptrace(2)).
    """
    if worker is not None:
        _settle(process, worker)
    if whom is not None:
        os.setgroups(os.getgrouplist(whom.user, whom.gid))
        os.setgid(whom.gid)
        os.setuid(whom.uid)
        _control_process(_PR_SET_DUMPABLE, 0)
    _control_process(_PR_SET_NO_NEW_PRIVS, 1)


def _control_process(option: int, value: int) -> None:
    """prctl(2); what the kernel refuses is said and left."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        log.get().warning("process_not_confined", option=option, reason=reason(ctypes.get_errno()))


def _settle(process: Process, worker: int) -> None:
    """What the kernel refuses is said and left, as nginx does it."""
    try:
        if process.priority:
            os.setpriority(os.PRIO_PROCESS, 0, process.priority)
    except OSError as error:
        log.get().warning("priority_refused", priority=process.priority, reason=reason_of(error))
    try:
        if process.cpus:
            os.sched_setaffinity(0, allowed(process, worker, ()))
    except OSError as error:
        cpus = list(allowed(process, worker, ()))
        log.get().warning("cpus_refused", cpus=cpus, reason=reason_of(error))
