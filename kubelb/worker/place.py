"""Where variables are evaluated: this process, with the variables that the configuration makes."""

from __future__ import annotations

import os

from kubelb import log
from kubelb.config.own_variables import compile_own
from kubelb.config.variables import Worker
from kubelb.snapshot import Snapshot


def place_of(snapshot: Snapshot) -> Worker:
    """Compiled once for each snapshot that has other variables than the one before."""
    assigned = (assignment.variable for listener in snapshot.listeners for assignment in listener.assignments)
    return Worker(os.uname().nodename, os.getpid(), compile_own(snapshot.variables, assigned, _tell_too_long))


def _tell_too_long(name: str, length: int) -> None:
    log.limited().warning("text_too_long", variable=name, bytes=length)


def same_variables(one: Snapshot, other: Snapshot) -> bool:
    """Whether what is compiled for the one does for the other."""
    return one.variables == other.variables and _assignments(one) == _assignments(other)


def _assignments(snapshot: Snapshot) -> list[object]:
    return [listener.assignments for listener in snapshot.listeners]
