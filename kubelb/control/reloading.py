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
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.http import HttpServer
from kubelb.config.model.listeners import Binding
from kubelb.config.model.logs import Log
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
            what = "this cannot change by a reload"
            yield fault_at(
                loaded.places, (field.encode_name,), what, "kubelb upgrade goes by it, and cuts no session"
            )

    before = _bindings(running)
    for i, listener in enumerate(loaded.config.listeners):
        if any(before.get(str(address), listener.socket) != listener.socket for address in listener.listen):
            what = "the options of a socket that is listened on already cannot change by a reload"
            yield fault_at(loaded.places, ("listener", i, "socket"), what, "kubelb upgrade goes by it")


def _fixed(config: Config) -> Config:
    """Without what can change: listeners, pools, variables, the number of workers, what is logged."""
    http = tuple(map(_without_logs, config.http))
    level = Log().level
    also = tuple(msgspec.structs.replace(target, level=level) for target in config.log.also)
    log = msgspec.structs.replace(config.log, access=False, level=level, also=also)
    process = msgspec.structs.replace(config.process, max_connections=None)
    return msgspec.structs.replace(
        config, pools={}, listeners=(), variables={}, workers="auto", process=process, log=log, http=http
    )


def _without_logs(server: HttpServer) -> HttpServer:
    locations = tuple(msgspec.structs.replace(location, access_logs=None) for location in server.locations)
    return msgspec.structs.replace(server, access_logs=(), locations=locations)


def new_addresses(running: Config, wanted: Config) -> dict[str, Binding]:
    """Where the one listens and the other does not yet."""
    before, after = _bindings(running), _bindings(wanted)
    return {address: binding for address, binding in after.items() if address not in before}


def _bindings(config: Config) -> dict[str, Binding]:
    return {str(address): listener.socket for listener in config.listeners for address in listener.listen}
