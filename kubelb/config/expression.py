"""A text with variables in it, as nginx's stream module has them: ``"$remote_addr to ${server_port}"``; pure.

It is compiled once and evaluated for one record after the other. What belongs to a name, and what is a fault, is as
in ``ngx_stream_script_compile`` (nginx's src/stream/ngx_stream_script.c): letters, digits and the underscore, or one
digit from 1 to 9; case does not count, and there is no way to write a dollar sign. Values are bytes: those of
``$binary_remote_addr`` are no text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

from kubelb.reasons import ValueFault

T = TypeVar("T")

Variable = Callable[[T], "bytes | None"]
"""What a variable is for this record; None: it has no such thing."""

_DOLLAR = re.compile(r"\$(?:\{(?P<inner>[A-Za-z0-9_]*)(?P<end>\}?)|(?P<bare>[1-9]|[A-Za-z0-9_]*))")


def plain(value: bytes | None) -> bytes:
    """The value as it is; nothing where there is none."""
    return value or b""


class Expression(Generic[T]):
    """Called with a record it gives the text for it."""

    def __init__(
        self,
        text: str,
        variables: Mapping[str, Variable[T]],
        render: Callable[[bytes | None], bytes] = plain,
        later: Collection[str] = (),
    ) -> None:
        """``variables`` by their names in lower case; each value goes through ``render``.

        ``later`` are the names of those that exist, but not yet when this is evaluated. :class:`ValueFault`, in
        nginx's words, for a text that is none.
        """
        self._parts: list[bytes | Variable[T]] = []
        self._render = render
        end = 0
        for match in _DOLLAR.finditer(text):
            self._add(text[end : match.start()])
            self._parts.append(_variable(_name(match, text), variables, later))
            end = match.end()
        self._add(text[end:])

    def _add(self, text: str) -> None:
        if text:
            self._parts.append(text.encode())

    def __call__(self, record: T) -> bytes:
        render = self._render
        return b"".join([part if isinstance(part, bytes) else render(part(record)) for part in self._parts])


def mentioned(text: str) -> frozenset[str]:
    """The names in it. :class:`ValueFault`, in nginx's words, for a text that is none."""
    return frozenset(_name(match, text) for match in _DOLLAR.finditer(text))


def _name(match: re.Match[str], text: str) -> str:
    inner: str | None = match["inner"]
    if inner is not None and not match["end"] and (inner or match.end() < len(text)):
        raise ValueFault(f'the closing bracket in "{inner}" variable is missing')
    name: str = inner or match["bare"]
    if not name:
        raise ValueFault("invalid variable name; a dollar sign is followed by the name of a variable")
    return name.lower()


def _variable(name: str, variables: Mapping[str, Variable[T]], later: Collection[str]) -> Variable[T]:
    if name in variables:
        return variables[name]
    if name in later:
        raise ValueFault(f'"{name}" is not known yet at that time; known are {", ".join(sorted(variables))}')
    from difflib import get_close_matches  # Few make mistakes.

    close = get_close_matches(name, variables, 1)
    raise ValueFault(f'unknown "{name}" variable' + (f'; did you mean "{close[0]}"?' if close else ""))
