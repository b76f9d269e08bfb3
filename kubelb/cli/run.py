"""``kubelb run``: the proxy, in the foreground. The command's own process becomes the supervisor."""

from __future__ import annotations

import gc
import time

from kubelb import log
from kubelb.cli.check import show_faults
from kubelb.config.faults import ConfigFault
from kubelb.config.overrides import NO_OVERRIDES, Overrides
from kubelb.config.sources import Sources, load
from kubelb.discovery.resolve import resolve
from kubelb.supervisor.main import Supervisor


def run(sources: Sources, overrides: Overrides = NO_OVERRIDES) -> int:
    """Until a signal ends it; the exit status. Faults come as one line each on standard error."""
    try:
        loaded = load(sources, overrides)
        log.set_up(loaded.config.log.level, "supervisor")
        for warning in loaded.warnings:
            log.get().warning("setting_without_effect", setting=warning)
        snapshot = resolve(loaded.config, loaded.places, now=time.monotonic())
        supervisor = Supervisor(loaded.config, snapshot, sources, overrides)
    except ConfigFault as error:
        return show_faults(error)
    # What is there now is never garbage: a collection in a child would only make it copy the pages.
    gc.collect()
    gc.freeze()
    return supervisor.run()
