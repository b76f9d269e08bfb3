"""The rules for variables of one's own; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from kubelb.config.expression import Expression
from kubelb.config.faults import Key, fault_of
from kubelb.config.lookup import check_map_keys, parse_geo_network, parse_percent
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.variables import MapRegex, Variable
from kubelb.config.own_variables import Cycle, Own, compile_own, texts_of
from kubelb.config.regex.compiled import DIGITS, compile_regex
from kubelb.config.rules.rule import Problem, text_problems
from kubelb.config.variables import Worker, compile_key, session_variables
from kubelb.reasons import ValueFault

MAX_VARIABLES: Final = 1000
MAX_REGEXES: Final = 1000
"""They are tried one after the other."""
_MAX_TEXT: Final = 128 << 10
"""Characters of all names and values: each picture of the proxy that the workers get has them."""
_MAX_ASSIGNED: Final = 16 << 10
"""Characters of all assignments of a listener: each of its sessions has them along through an upgrade."""
_NAME: Final = re.compile(r"[a-z0-9_]+")
_ONLY: Final = {
    "values": ("map", "geo"),
    "regexes": ("map",),
    "parts": ("split_clients",),
    "hostnames": ("map",),
    "volatile": ("map",),
}
_SHOWN: Final = {"parts": "part", "regexes": "regex"}
"""Settings, and the kinds they are for."""


def compiled_own(config: Config) -> tuple[Own, ...]:
    """The variables that the configuration makes. Raises :class:`ValueFault` for those that cannot be made."""
    return compile_own(config.variables, _assigned(config))


def declared_own(config: Config) -> tuple[Own, ...]:
    """Those variables, or, where they cannot be made, others of the same names."""
    try:
        return compiled_own(config)
    except ValueError:
        names = (*config.variables, *_assigned(config), *_captured(config.variables))
        return tuple(Own(name, None) for name in dict.fromkeys(names))


def _assigned(config: Config) -> Iterator[str]:
    return (assignment.variable for listener in config.listeners for assignment in listener.assignments)


def _captured(variables: Mapping[str, Variable]) -> Iterator[str]:
    """What regular expressions set, as far as they are such."""
    regexes = [regex for variable in variables.values() for regex in variable.regexes]
    if regexes:
        yield from DIGITS
    for regex in regexes:
        with suppress(ValueError):
            yield from compile_regex(regex.pattern, regex.any_case).groups


def check_name(name: str) -> None:
    """Raises :class:`ValueFault`, in nginx's words, for one that is none or is nginx's own."""
    if not _NAME.fullmatch(name):
        raise ValueFault(f'invalid variable name "${name}"; write small letters, digits and underscores')
    if "1" <= name[0] <= "9":
        raise ValueFault(f'"${name}" is what a regular expression has found; begin it with a letter')
    if name in session_variables(Worker("", 0)):
        raise ValueFault(f'the duplicate "{name}" variable; there is one of that name')


def check_regex(regex: MapRegex, names: Collection[str]) -> None:
    """Raises :class:`ValueFault` for one that is none, or that captures what is another variable (``names``)."""
    for name in compile_regex(regex.pattern, regex.any_case).groups:
        if name not in DIGITS:
            check_name(name)
        if name in names:
            raise ValueFault(f'"{name}" is a variable already; give the group another name')


def variable_problems(config: Config, worker: Worker) -> Iterator[Problem]:
    """``worker`` knows the variables that may stand in others."""
    problems = [problem for name in config.variables for problem in _problems_of(name, config, worker)]
    yield from problems or _cycles(config)
    if len(config.variables) > MAX_VARIABLES:
        yield ("variable",), f"{len(config.variables)} variables", f"at most {MAX_VARIABLES}"
    count = sum(len(variable.regexes) for variable in config.variables.values())
    if count > MAX_REGEXES:
        yield ("variable",), f"{count} regular expressions", f"at most {MAX_REGEXES}"
    size = sum(map(_size, config.variables.values()))
    if size > _MAX_TEXT:
        yield ("variable",), f"{size} characters in all variables", f"at most {_MAX_TEXT} go to the workers"


def _problems_of(name: str, config: Config, worker: Worker) -> Iterator[Problem]:
    key, variable = ("variable", name), config.variables[name]
    yield from text_problems(key, partial(check_name, name))
    yield from _kind_problems(key, variable)
    yield from _text_problems(key, variable, worker)
    yield from _entry_problems(key, variable, config.variables)


def _cycles(config: Config) -> Iterator[Problem]:
    try:
        compiled_own(config)
    except Cycle as error:
        yield ("variable", error.name), str(error), None


def _size(variable: Variable) -> int:
    parts = sum(len(part.percent) + len(part.value) for part in variable.parts)
    return (
        len(variable.source)
        + len(variable.default)
        + parts
        + sum(len(key) + len(value) for key, value in variable.values.items())
        + sum(len(regex.pattern) + len(regex.value) for regex in variable.regexes)
    )


def _kind_problems(key: Key, variable: Variable) -> Iterator[Problem]:
    for name, kinds in _ONLY.items():
        if getattr(variable, name) and variable.kind not in kinds:
            yield (
                (*key, _SHOWN.get(name, name)),
                f"{variable.kind} has no use for it",
                f"it is for {' and '.join(kinds)}",
            )


def _text_problems(key: Key, variable: Variable, worker: Worker) -> Iterator[Problem]:
    known = session_variables(worker)
    yield from text_problems((*key, "source"), lambda: Expression(variable.source, known))
    for text in dict.fromkeys(texts_of(variable)):
        yield from text_problems(key, partial(Expression, text, known))


def _entry_problems(key: Key, variable: Variable, names: Collection[str]) -> Iterator[Problem]:
    """``names`` are those of all variables that are made some other way than by capturing."""
    if variable.kind == "map":
        yield from text_problems(key, partial(check_map_keys, variable))
        for i, regex in enumerate(variable.regexes):
            yield from text_problems((*key, "regex", i, "pattern"), partial(check_regex, regex, names))
    elif variable.kind == "geo":
        yield from _network_problems((*key, "values"), variable.values)
    else:
        for i, part in enumerate(variable.parts):
            yield from text_problems((*key, "part", i, "percent"), partial(parse_percent, part.percent))
        yield from text_problems((*key, "part"), partial(check_percents, variable))


def _network_problems(key: Key, texts: Iterable[str]) -> Iterator[Problem]:
    seen = set()
    for text in texts:
        try:
            network = parse_geo_network(text)
        except ValueFault as error:
            fault = fault_of(error)
            yield (*key, text), fault.what, fault.instead
            continue
        if network in seen:
            yield (*key, text), f"duplicate network {network}", "write it once"
        seen.add(network)


def check_percents(variable: Variable) -> None:
    """Raises :class:`ValueFault` where the parts are more than all."""
    if sum(_percent(part.percent) for part in variable.parts) > 10000:
        raise ValueFault("percent total is greater than 100%")


def _percent(text: str) -> int:
    try:
        return parse_percent(text)
    except ValueError:
        return 0


def assignment_problems(key: Key, listener: Listener, worker: Worker) -> Iterator[Problem]:
    size = sum(len(one.variable) + len(one.value) for one in listener.assignments)
    if size > _MAX_ASSIGNED:
        what = f"{size} characters in all assignments"
        yield (*key, "set"), what, f"at most {_MAX_ASSIGNED} go along with a session"
    for i, assignment in enumerate(listener.assignments):
        yield from text_problems((*key, "set", i, "variable"), partial(check_name, assignment.variable))
        yield from text_problems((*key, "set", i, "value"), partial(compile_key, assignment.value, worker))
