"""What a supervisor holds from its start to its end: pid file, sockets, shared counters, and the first snapshot.

Either made afresh, or had from the supervisor whose place this one takes. Runs once, before the loop; all is the
supervisor's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kubelb import log
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model.config import Config
from kubelb.config.values import Address
from kubelb.discovery.local import is_local
from kubelb.discovery.members import TooManyServers, merge
from kubelb.snapshot import Snapshot
from kubelb.stats import SLOTS, Table
from kubelb.supervisor.activation import Activated
from kubelb.supervisor.pidfile import PidFile
from kubelb.supervisor.secondpid import SecondPid
from kubelb.supervisor.sockets import ADMIN, Sockets
from kubelb.supervisor.upgrade import Predecessor


@dataclass(frozen=True)
class Holdings:
    pidfile: PidFile
    second: SecondPid
    sockets: Sockets
    table: Table
    snapshot: Snapshot
    rows: tuple[int, ...] = ()
    """Of the shared counters, that are another supervisor's."""
    left: tuple[Path, ...] = ()
    """Unix sockets that the supervisor before has listened on."""


def afresh(config: Config, snapshot: Snapshot, pause: float) -> Holdings:
    """Raises :class:`ConfigFault` for what cannot be had, and leaves nothing behind then.

    ``pause`` is the time in seconds between two attempts to listen on an address that is in use.
    """
    runtime_dir = Path(config.runtime_dir)
    with ExitStack() as undo:
        activated = Activated(os.environ, os.getpid(), _addresses(config))
        undo.callback(activated.close)
        pidfile = PidFile(runtime_dir)
        undo.callback(pidfile.remove)
        sockets = Sockets(config, runtime_dir / ADMIN, activated.take, None, pause)
        undo.callback(sockets.close, for_good=True)
        second = SecondPid(config.process.pid_file)
        second.write()
        undo.pop_all()
    return Holdings(pidfile, second, sockets, Table(1), snapshot)


def from_predecessor(config: Config, snapshot: Snapshot, predecessor: Predecessor) -> Holdings:
    """``snapshot`` is what is configured now. Raises :class:`ConfigFault`; the other one goes on then."""
    runtime_dir = Path(config.runtime_dir)
    inheritance = predecessor.inherit()
    pidfile = inheritance.pidfile(runtime_dir)
    sockets = Sockets(config, runtime_dir / ADMIN, inheritance.take, inheritance.admin())
    table = inheritance.table()
    left = inheritance.close_rest()
    if table is None:
        reason = "the kubelb before counts in another way, or does not seal what it counts in"
        log.get().warning("counters_begin_anew", reason=reason)
    legacy = inheritance.legacy.snapshot

    def is_held(slot: int) -> bool:
        return table is not None and table.is_held(slot, legacy.version)

    try:
        snapshot = merge(legacy, snapshot, SLOTS - 1, is_held, is_local)
    except TooManyServers:
        raise ConfigFault(
            Fault(what="too many servers, with those that have not left yet", instead="try again later")
        ) from None
    rows = () if table is None else inheritance.legacy.rows
    if table is not None:
        # What servers of another time have left there; nobody counts there now.
        table.forget(snapshot.slots - legacy.slots)
    return Holdings(pidfile, SecondPid(config.process.pid_file), sockets, table or Table(1), snapshot, rows, left)


def _addresses(config: Config) -> Iterator[Address]:
    yield from (address for one in config.listeners for address in one.listen)
    yield from dict.fromkeys(address for one in config.http for address in one.listen)
    if config.admin.listen is not None:
        yield config.admin.listen
