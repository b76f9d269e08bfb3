"""The model as a TOML text that reads back as an equal model; pure.

Settings at their default are left out, except those an operator looks for first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kubelb.config.faults import toml_key, toml_text
from kubelb.config.model.config import Config
from kubelb.config.model.pools import Server
from kubelb.config.model.settings import fields_of
from kubelb.config.values import Address, Duration

_ALWAYS = ("balance", "connect_timeout", "every")


def write_toml(config: Config) -> str:
    """The text of a TOML file."""
    return "\n".join(_table(config, "")).strip() + "\n"


def _table(part: msgspec.Struct, header: str) -> Iterator[str]:
    """The lines of one table: its own settings, then the tables within it."""
    nested: list[str] = []
    for name, value in _settings(part):
        path = f"{header}.{name}" if header else name
        if isinstance(value, dict):
            nested += _tables(value, path)
        elif isinstance(value, msgspec.Struct) and not isinstance(value, Address):
            nested += ["", f"[{path}]", *_table(value, path)]
        elif _is_array_of_tables(value):
            for item in value:
                nested += ["", f"[[{path}]]", *_table(item, path)]
        else:
            yield f"{name} = {_value(value)}"
    yield from nested


def _tables(items: dict[str, Any], path: str) -> Iterator[str]:
    """Those of names that the operator gives: a table for each, or one with a text for each."""
    if any(isinstance(item, str) for item in items.values()):
        yield from ("", f"[{path}]")
        yield from (f"{toml_key(key)} = {_value(item)}" for key, item in items.items())
        return
    for key, item in items.items():
        yield from ("", f"[{path}.{toml_key(key)}]", *_table(item, f"{path}.{toml_key(key)}"))


def _settings(part: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """The fields worth writing, by their TOML names."""
    for field in fields_of(type(part)):
        value = getattr(part, field.name)
        if field.default_factory is not msgspec.NODEFAULT:
            default: Any = field.default_factory()
        else:
            default = field.default
        if value is not None and (value != default or field.name in _ALWAYS):
            yield field.encode_name, value


def _is_array_of_tables(value: object) -> bool:
    if not isinstance(value, tuple) or not value:
        return False
    return isinstance(value[0], msgspec.Struct) and not isinstance(value[0], (Address, Server))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (Address, Duration)):
        return toml_text(str(value))
    if isinstance(value, Server):
        return _server(value)
    if isinstance(value, tuple):
        return _array([_value(item) for item in value])
    return toml_text(value) if isinstance(value, str) else str(value)


def _array(items: list[str]) -> str:
    line = f"[{', '.join(items)}]"
    return line if len(line) <= 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _server(server: Server) -> str:
    """Its address alone where nothing else is set, else an inline table."""
    settings = list(_settings(server))
    if len(settings) == 1:
        return _value(server.address)
    return "{ " + ", ".join(f"{name} = {_value(value)}" for name, value in settings) + " }"
