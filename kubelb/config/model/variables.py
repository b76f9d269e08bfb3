"""Variables of one's own; pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from kubelb.config.model.settings import Settings

VariableKind = Literal["map", "geo", "split_clients"]


class Part(Settings, frozen=True, kw_only=True):
    """Of all clients so many have that value."""

    percent: str
    """With at most two decimals, such as ``"0.5%"``."""
    value: str


class MapRegex(Settings, frozen=True, kw_only=True):
    """A regular expression of a map, PCRE's; of a text it need find a part only."""

    pattern: str
    value: str
    any_case: bool = False
    """Whether a letter stands for both cases."""


class Variable(Settings, frozen=True, kw_only=True):
    """A variable of one's own, which may stand wherever nginx's may; its value depends on a text with variables."""

    kind: VariableKind
    """map: on what the text is; geo: on the network it is an address in; split_clients: on a hash of it, so that of
    all clients each part has a value."""
    source: str = "$remote_addr"
    """The text."""
    values: dict[str, str] = msgspec.field(default_factory=dict)
    """Of a map: by what the text is, case does not count; each may have variables. Of geo: by network, the smallest
    counts."""
    regexes: tuple[MapRegex, ...] = msgspec.field(default=(), name="regex")
    """Of a map: where no value fits, the first of these that finds something in the text, if that is not empty. What
    it has captured is a variable from then on, ``$1`` to ``$9`` and those with names."""
    parts: tuple[Part, ...] = msgspec.field(default=(), name="part")
    """Of split_clients."""
    default: str = ""
    """Where nothing fits."""
    hostnames: bool = False
    """Of a map: ``*.example.org``, ``.example.org`` and ``www.example.*`` stand for many names, the
    longest counts."""
    volatile: bool = False
    """Of a map: it is looked up each time, also once it has a value."""


class Assignment(Settings, frozen=True, kw_only=True):
    """A variable that the clients of one listener have; nginx's ``set``."""

    variable: str
    value: str
    """A text with variables (:func:`kubelb.config.variables.client_variables`)."""
