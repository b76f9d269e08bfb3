"""What all parts of the model have in common; pure."""

from __future__ import annotations

from functools import cache

import msgspec
from msgspec.structs import FieldInfo


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts of the model have in common."""


@cache
def fields_of(part: type[msgspec.Struct]) -> tuple[FieldInfo, ...]:
    """The fields of a part. They are looked up once: msgspec evaluates the annotations each time, which takes half of
    the time that a configuration takes to be read."""
    return msgspec.structs.fields(part)
