"""Which of its values a variable of one's own has: by a text, by the network of an address, by a share of all; pure.

They find what nginx finds: ``ngx_hash_find_combined`` (src/core/ngx_hash.c) for ``map``,
with ``ngx_stream_map_find`` for the
regular expressions of ``map``, ``ngx_stream_geo_cidr_variable`` (src/stream/ngx_stream_geo_module.c) for ``geo``,
``ngx_stream_split_clients_variable`` (src/stream/ngx_stream_split_clients_module.c) and ``ngx_murmur_hash2``
(src/core/ngx_murmurhash.c) for ``split_clients``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from kubelb.config.access import Network, parse_network
from kubelb.config.model.variables import Variable
from kubelb.config.regex.compiled import compile_regex
from kubelb.inet import packed, unmapped
from kubelb.reasons import ValueFault


class Found(NamedTuple):
    """What the variable is for one text."""

    value: str
    captures: Mapping[str, bytes] | None = None
    """By the names of the variables that they are; None: no regular expression has found it."""
    too_long: bool = False
    """For a regular expression that would have had its turn: it is the default then, as in nginx where PCRE gives
    up."""


Find = Callable[[bytes], Found]
"""The value for what the variable's text is."""

_NOWHERE: Final = b"\xff\xff\xff\xff"
"""What is no address counts as this one."""
_LIMITED_BROADCAST: Final = "255.255.255.255"
_PERCENT: Final = re.compile(r"([0-9]*)(?:\.([0-9]{0,2}))?%")
_FACTOR: Final = 0x5BD1E995
_WORD: Final = 0xFFFFFFFF


def map_finder(variable: Variable) -> Find:
    """Of a name the exact value goes first, then the longest ``*.`` or ``.`` one, then the longest ``.*`` one, then
    the first regular expression that finds something."""
    exact, heads, tails = _map_tables(variable)
    default = Found(variable.default)
    search = _searcher(variable, default)

    def find(text: bytes) -> Found:
        if variable.hostnames and text.endswith(b"."):
            text = text[:-1]
        name = text.lower()
        if (value := exact.get(name)) is not None:
            return Found(value)
        if heads and (value := _by_end(heads, name)) is not None:
            return Found(value)
        if tails and (value := _by_beginning(tails, name)) is not None:
            return Found(value)
        return search(text) if text else default

    return find


def _searcher(variable: Variable, default: Found) -> Find:
    """``ngx_stream_map_find`` (src/stream/ngx_stream_variables.c): the text is as it came, and not empty."""
    regexes = [(compile_regex(one.pattern, one.any_case), one.value) for one in variable.regexes]

    def search(text: bytes) -> Found:
        for regex, value in regexes:
            if len(text) > regex.longest:
                return default._replace(too_long=True)
            if match := regex.pattern.search(text):
                return Found(value, regex.captures(match))
        return default

    return search


_Table = dict[bytes, str]


def _map_tables(variable: Variable) -> tuple[_Table, _Table, _Table]:
    """By the whole text; by how names end, from the dot on; by how they begin, up to the dot."""
    exact: _Table = {}
    heads: _Table = {}
    tails: _Table = {}
    for key, value in variable.values.items():
        name = key.encode().lower()
        if variable.hostnames and len(name) > 1 and name.startswith(b"."):
            exact[name[1:]] = heads[name] = value
        elif variable.hostnames and len(name) > 2 and name.startswith(b"*."):
            heads[name[1:]] = value
        elif variable.hostnames and len(name) > 2 and name.endswith(b".*"):
            tails[name[:-1]] = value
        else:
            exact[name] = value
    return exact, heads, tails


def _by_end(heads: Mapping[bytes, str], name: bytes) -> str | None:
    dot = name.find(b".")
    while dot >= 0:
        if (value := heads.get(name[dot:])) is not None:
            return value
        dot = name.find(b".", dot + 1)
    return None


def _by_beginning(tails: Mapping[bytes, str], name: bytes) -> str | None:
    dot = name.rfind(b".")
    while dot >= 0:
        if (value := tails.get(name[: dot + 1])) is not None:
            return value
        dot = name.rfind(b".", 0, dot)
    return None


class MapKeys:
    """The keys of one map: each stands for other names (``ngx_hash_add_key``, src/core/ngx_hash.c)."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def add(self, key: str, hostnames: bool) -> None:
        """Raises :class:`ValueFault`, in nginx's words, for a key that is none, or in the way of one before."""
        places = _places(key.lower()) if hostnames else [("", key.lower())]
        if not self._taken.isdisjoint(places):
            raise ValueFault(f'conflicting parameter "{key}"')
        self._taken.update(places)


def _places(name: str) -> list[tuple[str, str]]:
    """What a name or wildcard takes: where, and what is left of it there."""
    if name.count("*") > 1 or ".." in name or "\0" in name:
        raise ValueFault(f'invalid hostname or wildcard "{name}"')
    if len(name) > 1 and name.startswith("."):
        return [("", name[1:]), ("head", name[1:])]
    if len(name) > 2 and name.startswith("*."):
        return [("head", name[2:])]
    if len(name) > 2 and name.endswith(".*"):
        return [("tail", name[:-2])]
    if "*" in name:
        raise ValueFault(f'invalid hostname or wildcard "{name}"')
    return [("", name)]


def check_map_keys(variable: Variable) -> None:
    """Raises :class:`ValueFault`, in nginx's words, for the first key that is not right."""
    keys = MapKeys()
    for key in variable.values:
        keys.add(key, variable.hostnames)


def geo_finder(variable: Variable) -> Find:
    """The value of the smallest network that the address is in."""
    tables: dict[int, dict[int, dict[int, str]]] = {4: {}, 16: {}}
    for text, value in variable.values.items():
        network = parse_geo_network(text)
        bits = len(network.address) * 8
        beginnings = tables[len(network.address)].setdefault(bits - network.prefix, {})
        beginnings[int.from_bytes(network.address, "big") >> (bits - network.prefix)] = value
    ordered = {length: sorted(table.items()) for length, table in tables.items()}

    def find(text: bytes) -> Found:
        address = _address(text)
        number = int.from_bytes(address, "big")
        for spare, beginnings in ordered[len(address)]:
            if (value := beginnings.get(number >> spare)) is not None:
                return Found(value)
        return Found(variable.default)

    return find


def _address(text: bytes) -> bytes:
    try:
        return unmapped(packed(text.decode("ascii")))
    except ValueError:
        return _NOWHERE


def parse_geo_network(text: str, warn: Callable[[str], None] = lambda text: None) -> Network:
    """An address or a network. Raises :class:`ValueFault`; warns as nginx does."""
    if text == _LIMITED_BROADCAST:
        return Network(_NOWHERE, 32)
    try:
        network = parse_network(text, warn)
    except ValueError:
        raise ValueFault(f'invalid network "{text}"; write for example 10.0.0.0/8 or fd00::/8') from None
    if not network.address:
        raise ValueFault(f'invalid network "{text}"; what is no address counts as {_LIMITED_BROADCAST}')
    return network


def show_geo_network(network: Network) -> str:
    """The one text that :func:`parse_geo_network` reads back as the same."""
    return _LIMITED_BROADCAST if network.address == _NOWHERE and network.prefix == 32 else str(network)


def split_finder(variable: Variable) -> Find:
    """The value of the part that the text's hash is in."""
    ends, last = [], 0
    for part in variable.parts:
        last += parse_percent(part.percent) * _WORD // 10000
        ends.append((last, part.value))

    def find(text: bytes) -> Found:
        number = murmur2(text)
        return Found(next((value for end, value in ends if number < end), variable.default))

    return find


def parse_percent(text: str) -> int:
    """In hundredths of a percent: ``ngx_atofp``. Raises :class:`ValueFault`."""
    match = _PERCENT.fullmatch(text)
    digits = f"{match[1]}{match[2] or '':0<2}" if match and len(match[1]) < 10 else "0"
    if not int(digits):
        raise ValueFault(f'invalid percent value "{text}"; write for example 50% or 0.5%')
    return int(digits)


def murmur2(data: bytes) -> int:
    """Austin Appleby's MurmurHash2, 32 bits, seed 0."""
    number = len(data)
    end = len(data) & ~3
    for place in range(0, end, 4):
        word = int.from_bytes(data[place : place + 4], "little") * _FACTOR & _WORD
        word = (word ^ word >> 24) * _FACTOR & _WORD
        number = (number * _FACTOR & _WORD) ^ word
    if data[end:]:
        number = (number ^ int.from_bytes(data[end:], "little")) * _FACTOR & _WORD
    number = (number ^ number >> 13) * _FACTOR & _WORD
    return number ^ number >> 15


FINDERS: Final[Mapping[str, Callable[[Variable], Find]]] = {
    "map": map_finder,
    "geo": geo_finder,
    "split_clients": split_finder,
}
"""By a variable's kind."""
