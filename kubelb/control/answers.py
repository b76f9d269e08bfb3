"""Answers that admin.sock and the TCP admin side have in common; pure."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from kubelb.control.endpoint import Answer


def plain(status: str, text: str) -> Answer:
    """A line of text; ``status`` is code and phrase."""
    return Answer(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{text}\n".encode())


def in_json(value: msgspec.Struct) -> Answer:
    return Answer("200 OK", (("Content-Type", "application/json"),), msgspec.json.encode(value))


def use_instead(methods: str) -> Answer:
    """The method will not do; these would."""
    refusal = plain("405 Method Not Allowed", f"use {methods}")
    return replace(refusal, headers=(*refusal.headers, ("Allow", methods)))
