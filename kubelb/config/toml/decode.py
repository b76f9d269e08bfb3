"""Plain values, as TOML has them, into the model's types, with a fault for each value that does not fit; pure.

The types are walked here and not by msgspec alone, because msgspec stops at the first fault and does not name the
keys of tables.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import msgspec

from kubelb.config.faults import ConfigFault, Fault, Key, Places, fault_at, fault_of, suggest
from kubelb.config.misfits import is_too_large, is_union, shown, without_none
from kubelb.config.model.config import Config
from kubelb.config.model.pools import Server
from kubelb.config.model.settings import fields_of
from kubelb.config.values import Address, Duration, parse_address, parse_duration
from kubelb.reasons import ValueFault

_Name = typing.NewType("_Name", str)
"""An address that may be without a port."""
_PARSERS: Mapping[object, Callable[[str], object]] = {
    Address: parse_address,
    Duration: parse_duration,
    _Name: partial(parse_address, default_port=0),
}
_NAMES: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    Address: '"host:port"',
    _Name: '"name"',
    Duration: 'a time like "10m"',
}


def decode_config(table: Mapping[str, object], places: Places) -> Config:
    """The configuration; :class:`ConfigFault` with all unknown keys, missing keys and wrong types."""
    decoder = _Decoder(places)
    config = decoder.decode(Config, table, ())
    if decoder.faults:
        raise ConfigFault(*decoder.faults)
    return typing.cast(Config, config)


class _Decoder:
    """Each method gives the value as the wanted type, or notes a fault and gives None."""

    def __init__(self, places: Places) -> None:
        self.faults: list[Fault] = []
        self._places = places

    def decode(self, kind: Any, value: object, key: Key) -> Any:
        if kind is Server:
            return self._server(value, key)
        if kind in _PARSERS:
            return self._parsed(kind, value, key)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind, value, key)
        if typing.get_origin(kind) is tuple:
            return self._tuple(kind, value, key)
        if typing.get_origin(kind) is dict:
            return self._dict(kind, value, key)
        return self._plain(kind, value, key)

    def _fault(self, key: Key, what: str, instead: str | None = None) -> None:
        self.faults.append(fault_at(self._places, key, what, instead))

    def _parsed(self, kind: Any, value: object, key: Key) -> Any:
        if not isinstance(value, str):
            return self._wrong(kind, value, key)
        try:
            return _PARSERS[kind](value)
        except ValueFault as error:
            fault = fault_of(error)
            return self._fault(key, fault.what, fault.instead)

    def _server(self, value: object, key: Key) -> Any:
        if isinstance(value, str):
            address = self._parsed(Address, value, key)
            return Server(address=address) if address else None
        of_a_service = isinstance(value, dict) and value.get("service")
        return self._struct(Server, value, key, {"address": _Name} if of_a_service else {})

    def _struct(
        self,
        kind: type[msgspec.Struct],
        value: object,
        key: Key,
        kinds: Mapping[str, object] = types.MappingProxyType({}),
    ) -> Any:
        """``kinds`` are those of fields that are not what the type says."""
        if not isinstance(value, dict):
            return self._wrong(kind, value, key)
        fields = {field.encode_name: field for field in fields_of(kind)}
        before = len(self.faults)
        for name in value:
            if name not in fields:
                self._fault((*key, name), "unknown key", suggest(name, list(fields)))
        for name, field in fields.items():
            if field.required and name not in value:
                self._fault((*key, name), "missing", f"write {_describe(field.type)}")
        known = {
            field.name: self.decode(without_none(kinds.get(name, field.type)), value[name], (*key, name))
            for name, field in fields.items()
            if name in value
        }
        return kind(**known) if len(self.faults) == before else None

    def _tuple(self, kind: Any, value: object, key: Key) -> Any:
        if not isinstance(value, list):
            return self._wrong(kind, value, key)
        item = typing.get_args(kind)[0]
        return tuple(self.decode(item, part, (*key, i)) for i, part in enumerate(value))

    def _dict(self, kind: Any, value: object, key: Key) -> Any:
        if not isinstance(value, dict):
            return self._wrong(kind, value, key)
        item = typing.get_args(kind)[1]
        return {name: self.decode(item, part, (*key, name)) for name, part in value.items()}

    def _plain(self, kind: Any, value: object, key: Key) -> Any:
        if is_too_large(value):
            return self._wrong(kind, value, key)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return self._wrong(kind, value, key)

    def _wrong(self, kind: Any, value: object, key: Key) -> None:
        self._fault(key, f"not {shown(value)}", f"write {_describe(kind)}")


def _describe(kind: Any) -> str:
    *parts, last = _choices(kind)
    return f"{', '.join(parts)} or {last}" if parts else last


def _choices(kind: Any) -> list[str]:
    if kind in _NAMES:
        return [_NAMES[kind]]
    if typing.get_origin(kind) is Literal:
        return [f'"{choice}"' for choice in typing.get_args(kind)]
    if is_union(kind):
        return [choice for part in typing.get_args(kind) for choice in _choices(part)]
    return ["a list [...]" if typing.get_origin(kind) is tuple else "a table"]
