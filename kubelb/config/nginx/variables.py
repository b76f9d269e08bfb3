"""nginx's ``map``, ``geo``, ``split_clients`` and ``set`` of ``stream {}`` into variables; pure.

What is accepted and what is refused is as in ``ngx_stream_map_module.c``, ``ngx_stream_geo_module.c``,
``ngx_stream_split_clients_module.c`` and ``ngx_stream_set_module.c`` of nginx's src/stream. nginx looks names up once
it has read all, so they are gathered first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from kubelb.config.expression import Expression
from kubelb.config.faults import Key, Place
from kubelb.config.lookup import MapKeys, parse_geo_network, parse_percent, show_geo_network
from kubelb.config.model.variables import Assignment, MapRegex, Part, Variable
from kubelb.config.nginx.directives import HARMLESS
from kubelb.config.nginx.ranges import Ranges
from kubelb.config.nginx.syntax import Directive, Handler, Notes, handle, parse_count
from kubelb.config.own_variables import Own
from kubelb.config.regex.compiled import DIGITS, compile_regex
from kubelb.config.rules.variables import MAX_REGEXES, MAX_VARIABLES, check_name, check_regex
from kubelb.config.variables import Worker, compile_key, session_variables
from kubelb.reasons import ValueFault

_KINDS: Final = ("map", "geo", "split_clients")
_ALL: Final = 10000
"""Hundredths of a percent."""


def declared(stream: Directive) -> Worker:
    """Knows the names of all variables that are made anywhere in the block. :class:`ValueFault`: too many."""
    names = dict.fromkeys(name[1:].lower() for name in _names(stream) if name.startswith("$"))
    names |= dict.fromkeys(_captured(stream))
    if len(names) > MAX_VARIABLES:
        raise ValueFault(f"{len(names)} variables; at most {MAX_VARIABLES}")
    return Worker("", 0, tuple(Own(name, None) for name in names))


def _names(block: Directive) -> Iterator[str]:
    for directive in block.block or ():
        if directive.name in _KINDS:
            yield directive.args[-1]
        elif directive.name == "set":
            yield directive.args[0]
        elif directive.name == "server":
            yield from _names(directive)


def _captured(stream: Directive) -> Iterator[str]:
    """What regular expressions set, as far as they are such."""
    maps = [directive for directive in stream.block or () if directive.name == "map"]
    regexes = [regex for one in maps for entry in one.block or () if (regex := _regex(entry.name, "")) is not None]
    if len(regexes) > MAX_REGEXES:
        raise ValueFault(f"{len(regexes)} regular expressions; at most {MAX_REGEXES}")
    if regexes:
        yield from DIGITS
    for regex in regexes:
        with suppress(ValueError):
            yield from compile_regex(regex.pattern, regex.any_case).groups


def _regex(key: str, value: str) -> MapRegex | None:
    """None: it is another key."""
    if not key.startswith("~"):
        return None
    any_case = key.startswith("~*")
    return MapRegex(pattern=key[2 if any_case else 1 :], value=value, any_case=any_case)


class Variables:
    """Those of ``stream {}``."""

    def __init__(self, notes: Notes) -> None:
        self.settings: dict[str, Variable] = {}
        self._notes = notes
        self.handlers: dict[str, Handler] = {
            "map": lambda directive: self._read(directive, _Map(notes, directive)),
            "geo": lambda directive: self._read(directive, _Geo(notes, directive)),
            "split_clients": lambda directive: self._read(directive, _Split(notes, directive)),
            "map_hash_max_size": self._hash_size,
            "map_hash_bucket_size": self._hash_size,
        }

    def _read(self, directive: Directive, reader: _Reader) -> None:
        """The later of two of one name counts."""
        name = _name(directive.args[-1])
        self._notes.places["variable", name] = directive.place()
        for entry in directive.block or ():
            handle(entry, reader.take, self._notes)
        self.settings.pop(name, None)
        self.settings[name] = reader.variable()

    def _hash_size(self, directive: Directive) -> None:
        """The first map has nginx's default, and that is not to change."""
        if any(variable.kind == "map" for variable in self.settings.values()):
            raise ValueFault("directive is duplicate; write it before the first map")
        parse_count(directive.args[0])
        self._notes.warn(directive, HARMLESS["stream"][directive.name])


class Assignments:
    """The ``set`` directives of one ``server {}``."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._assignments: list[tuple[Assignment, Directive]] = []
        self.handlers: Mapping[str, Handler] = {"set": self._set}

    def settings(self) -> tuple[Assignment, ...]:
        return tuple(assignment for assignment, _ in self._assignments)

    def place(self, places: dict[Key, Place], listener: Key) -> None:
        """Note where those of that listener stand."""
        places.update(
            {(*listener, "set", i): directive.place() for i, (_, directive) in enumerate(self._assignments)}
        )

    def _set(self, directive: Directive) -> None:
        name, value = directive.args
        assignment = Assignment(variable=_name(name), value=value)
        compile_key(value, self._notes.worker)
        self._assignments.append((assignment, directive))


def _name(text: str) -> str:
    if not text.startswith("$"):
        raise ValueFault(f'invalid variable name "{text}"')
    check_name(text[1:].lower())
    return text[1:].lower()


class _Reader(Protocol):
    """Of one block."""

    def take(self, entry: Directive) -> None:
        """One of its lines; :class:`ValueFault` refuses it."""

    def variable(self) -> Variable: ...


def _words(entry: Directive, block: str) -> tuple[str, str]:
    """A line's two words."""
    if entry.block is not None:
        raise ValueFault('unexpected "{"')
    if len(entry.args) != 1:
        raise ValueFault(f"invalid number of the {block} parameters")
    return entry.name, entry.args[0]


class _Map:
    def __init__(self, notes: Notes, directive: Directive) -> None:
        self._notes = notes
        self._name = _name(directive.args[-1])
        self._known = session_variables(notes.worker)
        self._source = directive.args[0]
        Expression(self._source, self._known)
        self._keys = MapKeys()
        self._values: dict[str, str] = {}
        self._regexes: list[MapRegex] = []
        self._default: str | None = None
        self._flags: dict[str, Any] = {}

    def variable(self) -> Variable:
        return Variable(
            kind="map",
            source=self._source,
            values=self._values,
            regexes=tuple(self._regexes),
            default=self._default or "",
            **self._flags,
        )

    def take(self, entry: Directive) -> None:
        if entry.name in ("hostnames", "volatile") and not entry.args and entry.block is None:
            self._flag(entry.name)
            return
        key, value = _words(entry, "map")
        regex = _regex(key, value)
        if regex is not None:
            check_regex(regex, ())
        Expression(value, self._known)
        if key == "default":
            if self._default is not None:
                raise ValueFault("duplicate default map parameter")
            self._default = value
        elif regex is not None:
            self._notes.places[("variable", self._name, "regex", len(self._regexes), "pattern")] = entry.place()
            self._regexes.append(regex)
        else:
            key = key.removeprefix("\\").lower()
            self._keys.add(key, hostnames="hostnames" in self._flags)
            self._values[key] = value

    def _flag(self, name: str) -> None:
        if name == "hostnames" and self._values:
            raise ValueFault("it is not for the lines before it; write it first")
        self._flags[name] = True


class _Geo:
    def __init__(self, notes: Notes, directive: Directive) -> None:
        self._notes = notes
        self._values: dict[str, str] = {}
        self._ranges: Ranges | None = None
        self._settings: dict[str, Any] = {}
        if len(directive.args) == 2:
            name = directive.args[0]
            if not name.startswith("$"):
                raise ValueFault(f'invalid variable name "{name}"')
            Expression("${" + name[1:] + "}", session_variables(notes.worker))
            self._settings["source"] = name

    def variable(self) -> Variable:
        values = self._values if self._ranges is None else dict(self._ranges.networks())
        return Variable(kind="geo", values=values, **self._settings)

    def take(self, entry: Directive) -> None:
        if entry.name == "ranges" and not entry.args and entry.block is None:
            if self._ranges is None and (self._values or self._settings.keys() - {"source"}):
                raise ValueFault('the "ranges" directive must be the first directive inside "geo" block')
            self._ranges = self._ranges or Ranges()
            return
        key, value = _words(entry, "geo")
        warn = partial(self._notes.warn, entry)
        if key == "default":
            self._settings["default"] = value
            for network in ("0.0.0.0/0", "::/0"):
                self._values.pop(network, None)
        elif self._ranges is not None:
            _take_range(self._ranges, key, value, warn)
        else:
            self._take_network(key, value, warn)

    def _take_network(self, key: str, value: str, warn: Callable[[str], None]) -> None:
        if key == "delete":
            if self._values.pop(show_geo_network(parse_geo_network(value, warn)), None) is None:
                warn(f'no network "{value}" to delete')
        else:
            network = show_geo_network(parse_geo_network(key, warn))
            if network in self._values:
                warn(f'duplicate network "{key}", value: "{value}", old value: "{self._values[network]}"')
            self._values[network] = value


def _take_range(ranges: Ranges, key: str, value: str, warn: Callable[[str], None]) -> None:
    if key == "delete":
        if not ranges.delete(value):
            warn(f'no address range "{value}" to delete')
    elif (before := ranges.add(key, value)) is not None:
        warn(f'duplicate range "{key}", value: "{value}", old value: "{before}"')


class _Split:
    def __init__(self, notes: Notes, directive: Directive) -> None:
        self._source = directive.args[0]
        Expression(self._source, session_variables(notes.worker))
        self._parts: list[Part] = []
        self._default: str | None = None
        self._sum = 0

    def variable(self) -> Variable:
        return Variable(
            kind="split_clients", source=self._source, parts=tuple(self._parts), default=self._default or ""
        )

    def take(self, entry: Directive) -> None:
        percent, value = _words(entry, "split_clients")
        if percent == "*":
            self._sum = _ALL
            self._default = value if self._default is None else self._default
            return
        self._sum += parse_percent(percent)
        if self._sum > _ALL:
            raise ValueFault("percent total is greater than 100%")
        self._parts.append(Part(percent=percent, value=value))
