"""Configurations without a mistake, and with exactly one.

They are made of lines, each in a known context, one statement a line: so the line that is named names the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.differential.directives import (
    CONTEXTS,
    EVENTS,
    HTTP,
    HTTP_CONTEXTS,
    HTTP_SPECS,
    LOCATION,
    MAIN,
    SERVER,
    SITE,
    SPECS,
    STREAM,
    UPSTREAM,
    Spec,
)
from tests.support.nginx import STREAM_MODULE


@dataclass(frozen=True)
class Line:
    context: str
    text: str


@dataclass(frozen=True)
class Broken:
    """A configuration with a mistake."""

    mistake: str
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        numbered = "".join(f"\n    {number:3} {line}" for number, line in enumerate(self.lines, 1))
        return f"{self.mistake}:{numbered}"


@st.composite
def _some(draw: st.DrawFn, context: str, leave: Sequence[str] = ()) -> list[Line]:
    """Statements of that context, each directive once."""
    specs = [spec for spec in SPECS if context in spec.contexts and spec.name not in leave]
    chosen = draw(st.lists(st.sampled_from(specs), max_size=3, unique_by=lambda spec: spec.name))
    return [Line(context, spec.statement(draw(st.sampled_from(spec.good)))) for spec in chosen]


_METHODS = ("least_conn", "hash", "random")
_PLAIN = (
    Line(MAIN, f"load_module {STREAM_MODULE};"),
    Line(MAIN, "pid nginx.pid;"),
    Line(MAIN, "events {"),
    Line(EVENTS, "}"),
    Line(MAIN, "stream {"),
    Line(STREAM, "log_format known $remote_addr;"),
    Line(STREAM, "upstream pool {"),
    Line(UPSTREAM, "server 127.0.0.7:1;"),
    Line(UPSTREAM, "}"),
    Line(STREAM, "server {"),
    Line(SERVER, "listen 127.0.0.7:26000;"),
    Line(SERVER, "proxy_pass pool;"),
    Line(SERVER, "}"),
    Line(STREAM, "}"),
)
_HTTP = (
    Line(MAIN, "http {"),
    Line(HTTP, "server {"),
    Line(SITE, "listen 127.0.0.7:26100;"),
    Line(SITE, "location / {"),
    Line(LOCATION, "return 204;"),
    Line(LOCATION, "}"),
    Line(SITE, "}"),
    Line(HTTP, "}"),
)


def mistakes_with(spec: Spec) -> Iterator[Broken]:
    """A plain configuration with one more directive, at the end of each block that may have it, or may not."""
    for context in spec.contexts:
        for mistake, statement in _wrong_statements(spec):
            yield Broken(mistake, plain_with(context, statement))
    for context in HTTP_CONTEXTS if spec in HTTP_SPECS else CONTEXTS:
        if context not in spec.contexts and (spec.name, context) != ("server", STREAM):
            yield Broken("out of place", plain_with(context, spec.statement(spec.good[0])))


def _wrong_statements(spec: Spec) -> Iterator[tuple[str, str]]:
    for arguments in spec.bad:
        yield "a bad value", spec.statement(arguments)
    right = f"{spec.name} {spec.good[0]}".rstrip()
    if not spec.any_number:
        yield "arguments too many", f"{right} a b c d e;"
    yield "a block", f"{right} {{ }}"
    if "" not in spec.good:
        yield "no argument", f"{spec.name};"
    if spec.once:
        yield "twice", f"{right}; {right};"


def plain_with(context: str, statement: str) -> tuple[str, ...]:
    """A plain configuration with that at the end of its first block of that kind."""
    lines = (*_PLAIN, *_HTTP) if context in HTTP_CONTEXTS else _PLAIN
    end = max(at for at, line in enumerate(lines) if line.context == context)
    name = statement.split()[0]
    before = [line for line in lines[:end] if (name, SERVER, SERVER) != (line.text.split()[0], line.context, context)]
    return (*_texts(before), statement, *_texts(lines[end:]))


@st.composite
def good_lines(draw: st.DrawFn) -> list[Line]:
    """A configuration without a mistake."""
    methods = draw(st.sampled_from([*_METHODS, None]))
    upstream = draw(_some(UPSTREAM, [name for name in _METHODS if name != methods]))
    return [
        Line(MAIN, f"load_module {STREAM_MODULE};"),
        Line(MAIN, "pid nginx.pid;"),
        *draw(_some(MAIN)),
        Line(MAIN, "events {"),
        *draw(_some(EVENTS)),
        Line(EVENTS, "}"),
        Line(MAIN, "stream {"),
        Line(STREAM, "log_format known $remote_addr;"),
        *draw(_some(STREAM)),
        Line(STREAM, "upstream pool {"),
        *sorted(upstream, key=lambda line: line.text.startswith("server")),
        Line(UPSTREAM, "server 127.0.0.7:1;"),
        Line(UPSTREAM, "}"),
        Line(STREAM, "server {"),
        Line(SERVER, "listen 127.0.0.7:26000;"),
        *draw(_some(SERVER, ["proxy_pass"])),
        Line(SERVER, "proxy_pass pool;"),
        Line(SERVER, "}"),
        Line(STREAM, "}"),
    ]


def _texts(lines: Sequence[Line]) -> tuple[str, ...]:
    return tuple(line.text for line in lines)


good = good_lines().map(_texts)


@st.composite
def broken(draw: st.DrawFn) -> Broken:
    """With one mistake. Those on the first two lines are nginx's own and stay right."""
    lines = draw(good_lines())
    mistake = draw(st.sampled_from(_MISTAKES))
    return mistake(draw, lines)


def _inserted(lines: Sequence[Line], at: int, text: str) -> tuple[str, ...]:
    return (*_texts(lines[:at]), text, *_texts(lines[at:]))


def _statements(lines: Sequence[Line]) -> list[int]:
    return [at for at, line in enumerate(lines) if at > 1 and line.text.endswith(";")]


def _edited(draw: st.DrawFn, lines: list[Line], what: str, edit: Callable[[str], str]) -> Broken:
    at = draw(st.sampled_from(_statements(lines)))
    return Broken(what, (*_texts(lines[:at]), edit(lines[at].text), *_texts(lines[at + 1 :])))


def _no_semicolon(draw: st.DrawFn, lines: list[Line]) -> Broken:
    return _edited(draw, lines, "no semicolon", lambda text: text[:-1])


def _open_quote(draw: st.DrawFn, lines: list[Line]) -> Broken:
    return _edited(draw, lines, "a quote left open", lambda text: f'{text[:-1]} "x;')


def _unknown(draw: st.DrawFn, lines: list[Line]) -> Broken:
    at = draw(st.integers(2, len(lines)))
    return Broken(
        "unknown", _inserted(lines, at, draw(st.sampled_from(("frobnicate on;", "proxy_tiemout 1s;", "Listen 1;"))))
    )


def _brace(draw: st.DrawFn, lines: list[Line]) -> Broken:
    at = draw(st.sampled_from([at for at, line in enumerate(lines) if line.text == "}"]))
    if draw(st.booleans()):
        return Broken("a brace too many", _inserted(lines, at, "}"))
    return Broken("a brace too few", _texts([*lines[:at], *lines[at + 1 :]]))


def _empty(draw: st.DrawFn, lines: list[Line]) -> Broken:
    return Broken("an empty statement", _inserted(lines, draw(st.integers(2, len(lines))), ";"))


def _cut_off(draw: st.DrawFn, lines: list[Line]) -> Broken:
    """Within a block."""
    inside = [at for at, line in enumerate(lines) if line.context != MAIN]
    return Broken("cut off", _texts(lines[: draw(st.sampled_from(inside))]))


_MISTAKES = (_no_semicolon, _open_quote, _unknown, _brace, _empty, _cut_off)
