"""Reads the configuration anew, and says what of it can change in a running proxy.

Runs on a thread of whoever asks, in control: files and the name service may take their time. What can change goes to
the workers by snapshot; sockets and processes are made when the proxy starts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from kubelb.config.faults import ConfigFault, Fault, fault_at
from kubelb.config.model import Config, Loaded
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources, load
from kubelb.discovery.resolve import resolve
from kubelb.snapshot import Snapshot


@dataclass(frozen=True)
class Wanted:
    """A configuration that could be run, resolved."""

    config: Config
    snapshot: Snapshot
    warnings: tuple[str, ...]


def read(sources: Sources, overrides: Overrides, running: Config) -> Wanted:
    """What the operator's files say now. Raises :class:`ConfigFault`, also for changes that take a restart."""
    loaded = load(sources, overrides)
    if faults := tuple(_faults(loaded, running)):
        raise ConfigFault(*faults)
    snapshot = resolve(loaded.config, loaded.places, now=time.monotonic())
    return Wanted(loaded.config, snapshot, loaded.warnings)


def _faults(loaded: Loaded, running: Config) -> Iterator[Fault]:
    """One for each setting that is another one and cannot be in a running proxy."""
    fixed, wanted = _fixed(running), _fixed(loaded.config)
    for field in msgspec.structs.fields(Config):
        if getattr(fixed, field.name) != getattr(wanted, field.name):
            what = "addresses to listen on" if field.name == "listeners" else "this"
            key = (field.encode_name,)
            yield fault_at(loaded.places, key, f"{what} cannot change while kubelb runs", "restart it for that")


def _fixed(config: Config) -> Config:
    """Without what can change: pools, the listeners' timeouts and pools, the access log."""
    listeners = tuple(type(listener)(listen=listener.listen, pool="") for listener in config.listeners)
    log = msgspec.structs.replace(config.log, access=False)
    return msgspec.structs.replace(config, pools={}, listeners=listeners, log=log)
