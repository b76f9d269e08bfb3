"""The model's own fields, found by reflection, and other values for them."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from kubelb.config.faults import Key
from kubelb.config.model.config import Config
from kubelb.config.model.settings import Settings, fields_of
from kubelb.config.values import Address, Duration

Path = tuple[str | int, ...]
"""Attributes, numbers in a tuple and names in a dict that lead from a configuration to a value in it."""


class Field(NamedTuple):
    """One field of one struct of the model."""

    struct: type[Settings]
    name: str

    def __str__(self) -> str:
        return f"{self.struct.__name__}.{self.name}"

    @property
    def type(self) -> Any:
        return typing.get_type_hints(self.struct)[self.name]


class Place(NamedTuple):
    """Where a field stands in a configuration."""

    field: Field
    path: Path
    key: Key
    """As faults name it."""


def fields() -> list[Field]:
    """All of the model that can have one value or another, in all structs that a configuration may consist of."""
    found = (Field(struct, one.name) for struct in _structs(Config, {}) for one in fields_of(struct))
    return [field for field in found if not _has_one_value(field.type)]


def _has_one_value(type_: Any) -> bool:
    """Or is a part with fields of its own."""
    if typing.get_origin(type_) is typing.Literal:
        return len(typing.get_args(type_)) == 1
    return _is_part(type_)


def _is_part(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Settings)


def _structs(type_: Any, found: dict[type[Settings], None]) -> dict[type[Settings], None]:
    if _is_part(type_):
        if type_ not in found:
            found[type_] = None
            for inner in typing.get_type_hints(type_).values():
                _structs(inner, found)
    else:
        for inner in typing.get_args(type_):
            _structs(inner, found)
    return found


def places(part: Settings, path: Path = (), key: Key = ()) -> Iterator[Place]:
    """Every field of every struct in ``part``."""
    for field in fields_of(type(part)):
        here = Place(Field(type(part), field.name), (*path, field.name), (*key, field.encode_name))
        yield here
        for step, inner in _inner(getattr(part, field.name)):
            yield from places(inner, (*here.path, *step), (*here.key, *step))


def _inner(value: object) -> Iterator[tuple[Path, Settings]]:
    if isinstance(value, Settings):
        yield (), value
    elif isinstance(value, (tuple, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from (((step,), inner) for step, inner in items if isinstance(inner, Settings))


def value_at(whole: Any, path: Path) -> Any:
    for step in path:
        whole = getattr(whole, str(step)) if isinstance(whole, msgspec.Struct) else whole[step]
    return whole


def with_value(whole: Any, path: Path, value: object) -> Any:
    """``whole`` with another value there."""
    if not path:
        return value
    step, *rest = path
    inner = with_value(value_at(whole, (step,)), tuple(rest), value)
    if isinstance(whole, msgspec.Struct):
        return msgspec.structs.replace(whole, **{str(step): inner})
    if isinstance(whole, dict):
        return {**whole, step: inner}
    return tuple(inner if i == step else one for i, one in enumerate(whole))


def others(type_: Any, value: Any) -> Iterator[Any]:
    """Some values of this type that are not this one, whether they make sense or not."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        for one in arguments:
            yield from others(one, value)
    elif origin is typing.Literal:
        yield from (one for one in arguments if one != value)
    elif origin is tuple:
        yield from _other_tuples(arguments[0], value)
    elif origin is dict:
        yield from _other_dicts(arguments[1], value)
    elif isinstance(value, Settings) and isinstance(value, type_):
        yield from _other_settings(value)
    else:
        yield from (one for one in _simple(type_, value) if one != value)


def _other_tuples(inner: Any, value: Any) -> Iterator[tuple[Any, ...]]:
    if value:
        yield value[:-1]
    if not _is_part(inner):
        yield from ((*value[:-1], other) for other in others(inner, value[-1] if value else None))


def _other_dicts(inner: Any, value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, one in value.items():
        yield {key: other for key, other in value.items() if key != name}
        if not _is_part(inner):
            yield from ({**value, name: other} for other in others(inner, one))


def _other_settings(value: Settings) -> Iterator[Settings]:
    for field in fields_of(type(value)):
        inner = Field(type(value), field.name)
        for other in others(inner.type, getattr(value, field.name)):
            yield msgspec.structs.replace(value, **{field.name: other})


def _simple(type_: Any, value: Any) -> tuple[Any, ...]:
    if type_ is bool:
        return True, False
    if type_ is int:
        return ((value or 0) + 1, (value or 0) - 1) if isinstance(value, int | None) else (7,)
    if type_ in (float, Duration):
        return (type_((value or 0) * 2 + 1),)
    if type_ is str:
        return f"{value or ''}x", f"x{value or ''}"
    if type_ is Address:
        return (Address("127.0.0.9", 9999) if value is None else msgspec.structs.replace(value, port=value.port + 1),)
    return (None,) if type_ is types.NoneType else ()
