"""What of a configuration can change in a running proxy; pure.

What can goes to control and the workers; sockets that are there and processes are made when the proxy starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from kubelb.config.faults import Fault, Key, fault_at
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.http import HttpServer
from kubelb.config.model.listeners import Binding
from kubelb.config.model.logs import Log
from kubelb.config.model.settings import Settings, fields_of


def impossible_changes(running: Config, loaded: Loaded) -> Iterator[Fault]:
    """A fault for each setting that is another one and cannot be in a running proxy."""
    for key in _changed(_fixed(running), _fixed(loaded.config)):
        what = "this cannot change by a reload"
        yield fault_at(loaded.places, key, what, "kubelb upgrade goes by it, and cuts no session")

    before = bindings(running)
    for key, address, binding in _sockets(loaded.config):
        for option in _changed(before.get(address, binding), binding, (*key, "socket")):
            what = f"this cannot change by a reload while {address} is listened on"
            yield fault_at(loaded.places, option, what, "kubelb upgrade goes by it")


def _changed(before: object, after: object, key: Key = ()) -> Iterator[Key]:
    """The settings that are not the same, each by itself where both have the structure around it."""
    if before == after:
        return
    if isinstance(before, Settings) and isinstance(after, type(before)):
        for field in fields_of(type(before)):
            pair = getattr(before, field.name), getattr(after, field.name)
            yield from _changed(*pair, (*key, field.encode_name))
    elif _are_settings(before) and _are_settings(after) and len(before) == len(after):
        for i, pair in enumerate(zip(before, after, strict=True)):
            yield from _changed(*pair, (*key, i))
    else:
        yield key


def _are_settings(value: object) -> TypeGuard[tuple[Settings, ...]]:
    return isinstance(value, tuple) and all(isinstance(one, Settings) for one in value)


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


def bindings(config: Config) -> dict[str, Binding]:
    """Where it listens for clients, and how."""
    return {address: binding for _, address, binding in _sockets(config)}


def _sockets(config: Config) -> Iterator[tuple[Key, str, Binding]]:
    """Each listener's key, with one of its addresses and the options of its sockets."""
    for i, listener in enumerate(config.listeners):
        yield from ((("listener", i), str(address), listener.socket) for address in listener.listen)
