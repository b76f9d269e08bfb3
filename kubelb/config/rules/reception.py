"""The rules for how a listener receives its clients, and where they go; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from kubelb.config.access import parse_access, parse_trusted
from kubelb.config.faults import Key
from kubelb.config.model.listeners import Listener
from kubelb.config.naming import is_named_by_variables
from kubelb.config.rules.rule import Problem, duration_problems, text_problems
from kubelb.config.variables import Worker, compile_answer, compile_key


def reception_problems(key: Key, listener: Listener) -> Iterator[Problem]:
    yield from duration_problems((*key, "proxy_protocol_timeout"), listener.proxy_protocol_timeout, zero=True)
    for i, text in enumerate(listener.access):
        yield from text_problems((*key, "access", i), partial(parse_access, text))
    for i, text in enumerate(listener.trusted_proxies):
        yield from text_problems((*key, "trusted_proxies", i), partial(parse_trusted, text))


def content_problems(key: Key, listener: Listener, pools: Collection[str], worker: Worker) -> Iterator[Problem]:
    """``pools`` are the names of those there are, ``worker`` knows the variables."""
    if listener.answer is not None:
        yield from text_problems((*key, "return"), partial(compile_answer, listener.answer, worker))
        if listener.pool is not None:
            yield (*key, "return"), "there is a pool too", "leave one of the two out"
    elif listener.pool is None:
        yield (*key, "pool"), "missing", "write the name of a pool"
    elif is_named_by_variables(listener.pool):
        yield from text_problems((*key, "pool"), partial(compile_key, listener.pool, worker))
    elif listener.pool not in pools:
        known = ", ".join(f'"{name}"' for name in pools)
        yield (*key, "pool"), f'no pool "{listener.pool}"', f"defined: {known}" if known else "no pool is defined"
