"""What is wrong with the operator's input, and where; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from kubelb.reasons import ValueFault

Key = tuple[str | int, ...]
"""A setting's place in the model: ``("pool", "api", "servers", 1, "weight")``."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the operator has to mend.

    ``file`` and ``line`` say where it stands (``line`` counts from 1, None where the form has no lines),
    ``path`` is the setting's key path (``pool.api.servers[1].weight``) or nginx's directive, ``what`` is wrong,
    ``instead`` would be right.
    """

    what: str
    file: str | None = None
    line: int | None = None
    path: str | None = None
    instead: str | None = None

    def __str__(self) -> str:
        """One printable line, whatever the operator's text holds."""
        place = self.file or ""
        if self.file and self.line is not None:
            place += f":{self.line}"
        parts = [part for part in (place, self.path, self.what) if part]
        text = ": ".join(parts)
        return printable(f"{text}; {self.instead}" if self.instead else text)


class ConfigFault(Exception):
    """The configuration cannot be used. Carries every fault that was found, each fit to be shown as one line."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults: Sequence[Fault] = faults


class Place(msgspec.Struct, frozen=True):
    """Where a setting was read; ``path`` is its name there, where that is not the key path."""

    file: str | None = None
    line: int | None = None
    path: str | None = None


Places = Mapping[Key, Place]
"""Where the settings of a model were read, as far as the reader knows."""


def fault_at(places: Places, key: Key, what: str, instead: str | None = None) -> Fault:
    """A fault of the setting ``key``, placed where it or the nearest thing around it was read."""
    around = (key[:end] for end in range(len(key), -1, -1))
    place = next((places[part] for part in around if part in places), Place())
    path = place.path or show_key(key) or None
    return Fault(file=place.file, line=place.line, path=path, what=what, instead=instead)


def fault_of(error: ValueFault) -> Fault:
    """The fault in the words of a ``parse_*`` function: what is wrong, a semicolon, what would be right."""
    what, semicolon, instead = str(error).rpartition("; ")
    return Fault(what=what, instead=instead) if semicolon else Fault(what=instead)


def suggest(name: str, known: Sequence[str], prefix: str = "") -> str:
    """What would be right instead of an unknown name; ``prefix`` is what all have in common, which tells nothing."""
    from difflib import get_close_matches  # Few make mistakes.

    close = get_close_matches(name[len(prefix) :], [other[len(prefix) :] for other in known], 1)
    return f'did you mean "{prefix}{close[0]}"?' if close else f"known here: {', '.join(known)}"


def show_key(key: Key) -> str:
    """``pool.api.servers[1]``, with the quotes TOML wants around odd names."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{toml_key(part)}" if text else toml_key(part)
    return text


def toml_key(name: str) -> str:
    return name if _BARE.fullmatch(name) else toml_text(name)


def toml_text(text: str) -> str:
    """A TOML basic string."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _UNPRINTABLE.sub(lambda match: _SHORT.get(match[0], f"\\u{ord(match[0]):04x}"), quoted) + '"'


def printable(text: str) -> str:
    """``text`` with control characters, line ends and undecodable bytes escaped."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
