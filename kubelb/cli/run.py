"""``kubelb run``: the proxy, in the foreground. The command's own process becomes the supervisor."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from kubelb import log
from kubelb.cli.check import show_faults
from kubelb.config.faults import ConfigFault, Fault, Places, fault_at
from kubelb.config.log_targets import log_targets, peer
from kubelb.config.model.logs import Log, LogTarget
from kubelb.config.overrides import NO_OVERRIDES, Overrides
from kubelb.config.sources import Sources, load
from kubelb.deadlines import USUAL, Deadlines
from kubelb.discovery.resolve import resolve
from kubelb.health.probes import prepare
from kubelb.outlets import Target
from kubelb.own_limits import EXHAUSTED, own_reason
from kubelb.reasons import number_of, reason_of
from kubelb.supervisor.image import Image
from kubelb.supervisor.main import Supervisor
from kubelb.supervisor.privileges import check_user, ignored_user
from kubelb.supervisor.service import Origin
from kubelb.supervisor.upgrade import Predecessor


def run(
    sources: Sources,
    overrides: Overrides = NO_OVERRIDES,
    ready: Callable[[], None] | None = None,
    show: Callable[[ConfigFault], int] = show_faults,
    deadlines: Deadlines = USUAL,
) -> int:
    """Until a signal ends it; the exit status. Faults come as one line each on standard error, written by ``show``.

    ``ready`` is called once clients can connect.
    """
    image = Image.of_this_process()
    try:
        predecessor = Predecessor.of_this_process(os.environ)
    except ConfigFault as error:
        return show(error)
    if predecessor is not None:
        show = partial(_tell, predecessor)
        _keep_name()
    try:
        loaded = load(sources, overrides)
        snapshot = resolve(loaded.config, loaded.places, now=time.monotonic())
        _set_up_log(snapshot.log, loaded.places)
        for warning in loaded.warnings:
            log.get().warning("setting_without_effect", setting=warning)
        if (ignored := ignored_user(loaded.config.process)) is not None:
            log.get().warning("setting_without_effect", setting=ignored)
        check_user(loaded.config, loaded.places)
        supervisor = Supervisor(loaded.config, snapshot, Origin(image, sources, overrides, predecessor), deadlines)
    except ConfigFault as error:
        return show(error)
    except OSError as error:
        if error.errno not in EXHAUSTED:
            raise
        what = f"kubelb cannot be started: {own_reason(number_of(error))}"
        return show(ConfigFault(Fault(what=what, instead="try again")))
    prepare(pool.health for pool in loaded.config.pools.values())
    # What is there now is never garbage: a collection in a child would only make it copy the pages.
    gc.collect()
    gc.freeze()
    if ready is not None:
        ready()
    return supervisor.run()


def _keep_name() -> None:
    """The process's, by which pid files are checked (start-stop-daemon --name): it has the interpreter's."""
    name = Path(sys.argv[0]).name
    if name != "__main__.py":
        with suppress(OSError):
            Path("/proc/self/comm").write_text(name)


def _tell(predecessor: Predecessor, error: ConfigFault) -> int:
    """Why it is not succeeded."""
    faults = [str(fault) for fault in error.faults]
    if not predecessor.fail(faults):
        log.set_up("supervisor")
        for fault in faults:
            log.get().error("upgrade_failed", fault=fault)
    return 1


def _set_up_log(settings: Log, places: Places) -> None:
    """``settings`` know no names any more."""
    try:
        log.write_to(*map(_target, settings.targets))
    except OSError as error:
        key = next((key for key, target in log_targets(settings) if target.file == error.filename), ("log",))
        what = f'"{error.filename}" cannot be opened: {reason_of(error)}'
        raise ConfigFault(fault_at(places, (*key, "file"), what)) from None
    log.set_up("supervisor")


def _target(settings: LogTarget) -> Target:
    syslog = settings.syslog
    return Target(settings.level, settings.file, None if syslog is None else peer(syslog, socket.gethostname()))
