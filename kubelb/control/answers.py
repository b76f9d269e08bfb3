"""Answers that admin.sock and the TCP admin side have in common, and how answers are given to waitress; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from kubelb.control.endpoint import Answer

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, StartResponse], list[bytes]]
"""As WSGI has it (PEP 3333)."""


def plain(status: str, text: str) -> Answer:
    """A line of text; ``status`` is code and phrase."""
    return Answer(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{text}\n".encode())


def in_json(value: msgspec.Struct) -> Answer:
    return Answer("200 OK", (("Content-Type", "application/json"),), msgspec.json.encode(value))


def use_instead(methods: str) -> Answer:
    """The method will not do; these would."""
    refusal = plain("405 Method Not Allowed", f"use {methods}")
    return replace(refusal, headers=(*refusal.headers, ("Allow", methods)))


def respond(answer: Answer, environ: Environ, start_response: StartResponse) -> list[bytes]:
    """What an :data:`Application` returns."""
    # waitress writes headers as Latin-1.
    headers = [(name, value.encode(errors="surrogateescape").decode("latin-1")) for name, value in answer.headers]
    start_response(answer.status, [*headers, ("Content-Length", str(len(answer.body)))])
    return [answer.body] if answer.body and environ["REQUEST_METHOD"] != "HEAD" else []
