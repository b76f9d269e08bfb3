"""Where a plain value is not what a type says, in our own words; pure.

msgspec finds that out too, but stops at a text whose wording changes from version to version. It is asked only
whether something fits.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from kubelb.config.faults import Key, show_key

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What comes of decoding something that is not of that form, or not what it is to be."""
_LONGEST: Final = 60
"""Characters of a value that are shown."""
_Part = tuple[str | int, object, Any]
"""Of a value: its key, itself, and its type."""


def misfit(value: object, kind: Any) -> str:
    """The first part that does not fit, and why; empty: ``msgspec.convert`` takes it."""
    found = _search(value, kind, ())
    if found is None:
        return ""
    key, what = found
    return f"{show_key(key)}: {what}" if key else what


def misfit_of(data: bytes, decode: Callable[[bytes], object], kind: Any, form: str) -> str:
    """The same of encoded data; ``decode`` gives plain values, ``form`` is what that is called."""
    try:
        value = decode(data)
    except UNDECODABLE:
        return f"not {form}"
    return misfit(value, kind) or f"not {form} of the right kind"


def _search(value: object, kind: Any, key: Key) -> tuple[Key, str] | None:
    if _fits(value, kind):
        return None
    kind = _plain(without_none(kind))
    wrong = _wrong_key(value, kind) if isinstance(value, dict) and _is_struct(kind) else None
    if wrong:
        return (*key, wrong[0]), wrong[1]
    for name, part, inner in _parts(value, kind):
        found = _search(part, inner, (*key, name))
        if found is not None:
            return found
    return key, f"not {cut(shown(value))}"


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _wrong_key(value: dict[object, object], kind: type[msgspec.Struct]) -> tuple[str, str] | None:
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if field.required and field.encode_name not in value:
            return field.encode_name, "missing"
    config = kind.__struct_config__
    known = {field.encode_name for field in fields} | {config.tag_field}
    unknown = next((name for name in value if name not in known), None)
    return (str(unknown), "unknown key") if config.forbid_unknown_fields and unknown is not None else None


def _parts(value: object, kind: Any) -> Iterator[_Part]:
    arguments = typing.get_args(kind)
    if isinstance(value, dict):
        if _is_struct(kind):
            for field in msgspec.structs.fields(kind):
                if field.encode_name in value:
                    yield field.encode_name, value[field.encode_name], field.type
        elif typing.get_origin(kind) is dict:
            for name, part in value.items():
                yield str(name), part, arguments[1]
    elif isinstance(value, (list, tuple)) and typing.get_origin(kind) is tuple:
        kinds = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        yield from ((i, part, inner) for i, (part, inner) in enumerate(zip(value, kinds, strict=False)))


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def without_none(kind: Any) -> Any:
    """The type where there is something: TOML has no null."""
    if not is_union(kind):
        return kind
    return typing.Union[tuple(part for part in typing.get_args(kind) if part is not types.NoneType)]  # noqa: UP007


def _plain(kind: Any) -> Any:
    """Without the limits that an ``Annotated`` adds."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def is_too_large(value: object) -> bool:
    """TOML's integers have 64 bits (toml.io, v1.0), and one of many thousand digits cannot even be printed."""
    return isinstance(value, int) and value.bit_length() > 63


def shown(value: object) -> str:
    """A plain value, as far as it tells what is wrong."""
    if is_too_large(value):
        return "so large a number"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else str(value)


def cut(text: str) -> str:
    """No more of it than fits into a line."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
