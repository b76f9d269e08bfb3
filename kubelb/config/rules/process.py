"""The rules for how the processes run; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubelb.config.model.config import Config
from kubelb.config.rules.rule import Problem

_MAX_CPU: Final = 1023
"""Linux' CPU_SETSIZE, less one."""
_PRIORITIES: Final = range(-20, 20)
CHANNEL: Final = 1
"""Connections of a worker to the supervisor."""


def process_problems(config: Config) -> Iterator[Problem]:
    process = config.process
    if process.group is not None and process.user is None:
        yield ("process", "group"), "a group without a user", "write the user too"
    for name in ("user", "group", "pid_file"):
        if getattr(process, name) == "":
            yield ("process", name), "empty", "write a name" if name != "pid_file" else "write a path"
    if process.priority not in _PRIORITIES:
        yield ("process", "priority"), f"{process.priority} is out of range", "write a number from -20 to 19"
    for i, cpus in enumerate(process.cpus):
        if not cpus or not all(0 <= cpu <= _MAX_CPU for cpu in cpus):
            yield ("process", "cpus", i), f"{list(cpus)} are no CPUs", f"write numbers from 0 to {_MAX_CPU}"
    yield from _connection_problems(config)


def listening_sockets(config: Config) -> int:
    """As nginx counts them in each worker, those of the health endpoints too."""
    endpoints = {address for one in config.http for address in one.listen}
    return sum(len(one.listen) for one in config.listeners) + len(endpoints)


def max_clients(config: Config) -> int | None:
    """Of one relay thread at a time; None: as many as there are descriptors for."""
    if config.process.max_connections is None:
        return None
    threads = config.threads if isinstance(config.threads, int) else 1
    left = config.process.max_connections - listening_sockets(config) - CHANNEL
    return max(0, left // 2 // max(1, threads))


def _connection_problems(config: Config) -> Iterator[Problem]:
    """``ngx_event_init_conf`` (src/event/ngx_event.c) asks for one more than there are listening sockets."""
    most, listening = config.process.max_connections, listening_sockets(config)
    if most is not None and most <= listening:
        what = f"{most} connections are not enough for {listening} listening sockets"
        yield ("process", "max_connections"), what, f"write {listening + CHANNEL + 2} or more"
