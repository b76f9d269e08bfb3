"""The rules for what is logged; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubelb.config.faults import Key
from kubelb.config.log_format import Texts
from kubelb.config.log_targets import log_targets
from kubelb.config.model.logs import AccessLog, Log, Syslog
from kubelb.config.rules.rule import Problem, duration_problems, text_problems
from kubelb.syslog.message import check_tag

_MAX_BUFFER: Final = 64 << 20
"""Bytes; each relay thread has one."""


def log_problems(log: Log) -> Iterator[Problem]:
    for key, target in log_targets(log):
        if target.file == "":
            yield (*key, "file"), "empty", "write a path, or leave it out for standard error"
        if target.syslog is None:
            continue
        if target.file is not None:
            yield (*key, "file"), "there is a syslog server already", "write one of them in [[log.also]]"
        if target.syslog.severity != "info":
            yield (*key, "syslog", "severity"), "each event has its own", "leave it out"
        yield from _syslog_problems((*key, "syslog"), target.syslog)


def _syslog_problems(key: Key, syslog: Syslog) -> Iterator[Problem]:
    yield from text_problems((*key, "tag"), lambda: check_tag(syslog.tag))


def access_log_problems(key: Key, log: AccessLog, texts: Texts) -> Iterator[Problem]:
    yield from _place_problems(key, log)
    if not log.format and log.escape != "default":
        yield (*key, "escape"), "without a format each line is a JSON object", "leave it out, or write a format"
    yield from text_problems((*key, "format"), lambda: texts.check_format(log.format, log.escape))
    yield from text_problems((*key, "if"), lambda: texts.check_condition(log.condition))
    if not 0 <= log.buffer <= _MAX_BUFFER:
        yield (*key, "buffer"), f"{log.buffer} is out of range", f"write a number of bytes from 0 to {_MAX_BUFFER}"
    if not 0 <= log.gzip <= 9:
        yield (*key, "gzip"), f"{log.gzip} is no level", "write a number from 1 to 9"
    yield from duration_problems((*key, "flush"), log.flush)
    for name in ("flush", "gzip"):
        if getattr(log, name) and not log.buffer and log.syslog is None:
            yield (*key, name), "there is no buffer", "write for example buffer = 65536"


def _place_problems(key: Key, log: AccessLog) -> Iterator[Problem]:
    if log.syslog is None:
        if not log.file:
            yield (*key, "file"), "empty", "write a path, or a syslog server"
        return
    if log.file:
        yield (*key, "file"), "there is a syslog server already", f"write one of them in {_another(key)}"
    for name in ("buffer", "flush", "gzip"):
        if getattr(log, name):
            yield (*key, name), "logs to syslog cannot be buffered", "leave it out"
    yield from _syslog_problems((*key, "syslog"), log.syslog)


def _another(key: Key) -> str:
    """Its table, without numbers."""
    return f"a [[{'.'.join(part for part in key if isinstance(part, str))}]]"
