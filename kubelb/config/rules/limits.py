"""The rules for how many clients of a kind a listener has at a time; pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from kubelb.config.faults import Key
from kubelb.config.model.listeners import Limit, Listener
from kubelb.config.rules.rule import Problem, text_problems
from kubelb.config.variables import Worker, compile_key

MAX_CONNECTIONS: Final = 65535
"""nginx's."""


def limit_problems(key: Key, listener: Listener, worker: Worker) -> Iterator[Problem]:
    """``worker`` knows the variables."""
    seen: set[tuple[str, str]] = set()
    for i, limit in enumerate(listener.limits):
        here = (*key, "limit", i)
        yield from _problems(here, limit, worker)
        if (limit.zone, limit.key) in seen:
            yield (*here, "key"), "a second limit of the same clients", "leave one out, or name another zone"
        seen.add((limit.zone, limit.key))


def _problems(key: Key, limit: Limit, worker: Worker) -> Iterator[Problem]:
    yield from text_problems((*key, "key"), partial(compile_key, limit.key, worker))
    if not 1 <= limit.connections <= MAX_CONNECTIONS:
        what = f"{limit.connections} is out of range"
        yield (*key, "connections"), what, f"write a number from 1 to {MAX_CONNECTIONS}"
