"""The reader: a child of the supervisor that reads and checks the operator's files, says what they come to, and ends.

It stays what the supervisor is, mostly root. So what root listens on, makes and gives away is from files that root
has read, and control, which may be nobody, has no say in it; and it may take its time, for the supervisor does not
wait. At a start and at an upgrade the process that is to be the supervisor reads them itself: it has no children yet.
"""

from __future__ import annotations

import math
import signal
import time

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Config
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources, load
from kubelb.config.toml.writer import write_toml
from kubelb.discovery.resolve import resolve
from kubelb.supervisor.changes import bindings, impossible_changes
from kubelb.supervisor.privileges import check_user
from kubelb.wire.messages import Read, Refused


def read(sources: Sources, overrides: Overrides, running: Config) -> Read | Refused:
    """What the files say now; refused, too, for changes that take a restart. For a process with one thread."""
    try:
        return _read(sources, overrides, running)
    except ConfigFault as error:
        return Refused(tuple(error.faults))


def _read(sources: Sources, overrides: Overrides, running: Config) -> Read:
    """Raises :class:`ConfigFault`."""
    loaded = load(sources, overrides)
    if faults := tuple(impossible_changes(running, loaded)):
        raise ConfigFault(*faults)
    config = loaded.config
    snapshot = resolve(config, loaded.places, now=time.monotonic())
    check_user(config, loaded.places)
    return Read(
        toml=write_toml(config),
        snapshot=snapshot,
        bindings=bindings(config),
        workers=config.workers if isinstance(config.workers, int) else None,
        warnings=loaded.warnings,
    )


def end_after(seconds: float) -> None:
    """Have this process end by then, whatever it waits for, also if nobody is left to see to that."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(seconds))
