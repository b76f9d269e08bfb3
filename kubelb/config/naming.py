"""Which pools a listener's text with variables may name, as far as the configuration tells; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.variables import Variable
from kubelb.config.own_variables import captured, plain_values, texts_of

_BARE: Final = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([1-9]|[A-Za-z0-9_]+))")


class Possible(NamedTuple):
    """What a text may be."""

    texts: frozenset[str]
    all: bool
    """Whether it can be nothing else."""


def is_named_by_variables(pool: str | None) -> bool:
    """Whether a listener's ``pool`` is a text that makes a name for each client."""
    return pool is not None and "$" in pool


def possible_names(listener: Listener, variables: Mapping[str, Variable]) -> Possible:
    """What the listener's ``pool`` may be."""
    pending, seen, found, everything = [listener.pool or ""], set[str](), set[str](), True
    while pending:
        text = pending.pop()
        match = _BARE.fullmatch(text)
        name = (match[1] or match[2]).lower() if match else None
        if "$" not in text:
            found.add(text)
        elif name is None or not _is_own(name, listener, variables):
            everything = False
        elif name not in seen:
            seen.add(name)
            texts, plain = _texts_of(name, listener, variables)
            pending += texts
            found |= plain
    return Possible(frozenset(found), everything)


def _is_own(name: str, listener: Listener, variables: Mapping[str, Variable]) -> bool:
    """What a regular expression captures is the client's."""
    if name in captured(variables):
        return False
    return name in variables or any(one.variable == name for one in listener.assignments)


def _texts_of(name: str, listener: Listener, variables: Mapping[str, Variable]) -> tuple[set[str], frozenset[str]]:
    """What the variable may be: texts with variables, and such where a dollar sign is one."""
    texts = {one.value for one in listener.assignments if one.variable == name}
    variable = variables.get(name)
    if variable is not None and variable.kind != "map":
        return texts, plain_values(variable)
    return texts.union(texts_of(variable) if variable else ()), frozenset()


def pool_called(name: str, pools: Iterable[str]) -> str | None:
    """The pool that a client whose text is ``name`` goes to; case does not count."""
    return next((pool for pool in pools if pool.lower() == name.lower()), None)


def reached_pools(listener: Listener, config: Config) -> tuple[str, ...]:
    """The pools that the listener may send sessions to."""
    if listener.pool is None:
        return ()
    if not is_named_by_variables(listener.pool):
        return (listener.pool,)
    possible = possible_names(listener, config.variables)
    names = {text.lower() for text in possible.texts}
    return tuple(pool for pool in config.pools if not possible.all or pool.lower() in names)


def nameless(config: Config) -> tuple[str, ...]:
    """One line for each text that a listener's pool may be and that no pool is called."""
    lines = [
        f'pool "{listener.pool}" may be "{text}", and there is no such pool: these clients are closed'
        for listener in config.listeners
        if is_named_by_variables(listener.pool)
        for text in sorted(possible_names(listener, config.variables).texts)
        if text and pool_called(text, config.pools) is None
    ]
    return tuple(dict.fromkeys(lines))
