"""The rules for what is logged; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubelb.config.faults import Key
from kubelb.config.log_format import compile_condition, compile_format
from kubelb.config.model import AccessLog, Log
from kubelb.config.rules.rule import Problem, duration_problems, text_problems
from kubelb.config.variables import Worker

_MAX_BUFFER: Final = 64 << 20
"""Bytes; each relay thread has one."""


def log_problems(log: Log) -> Iterator[Problem]:
    if log.file == "":
        yield ("log", "file"), "empty", "write a path, or leave it out for standard error"


def access_log_problems(key: Key, log: AccessLog, worker: Worker) -> Iterator[Problem]:
    if not log.file:
        yield (*key, "file"), "empty", "write a path"
    if not log.format and log.escape != "default":
        yield (*key, "escape"), "without a format each line is a JSON object", "leave it out, or write a format"
    yield from text_problems((*key, "format"), lambda: compile_format(log.format, log.escape, worker))
    yield from text_problems((*key, "if"), lambda: compile_condition(log.condition, worker))
    if not 0 <= log.buffer <= _MAX_BUFFER:
        yield (*key, "buffer"), f"{log.buffer} is out of range", f"write a number of bytes from 0 to {_MAX_BUFFER}"
    if not 0 <= log.gzip <= 9:
        yield (*key, "gzip"), f"{log.gzip} is no level", "write a number from 1 to 9"
    yield from duration_problems((*key, "flush"), log.flush)
    for name in ("flush", "gzip"):
        if getattr(log, name) and not log.buffer:
            yield (*key, name), "there is no buffer", "write for example buffer = 65536"
