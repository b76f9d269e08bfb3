"""Lines of an access log: a format and its escaping, as nginx's ``log_format`` has them; pure.

Source: ``ngx_stream_log_escape`` (nginx's src/stream/ngx_stream_log_module.c) and ``ngx_escape_json``
(src/core/ngx_string.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from kubelb.config.expression import Expression, Variable, plain
from kubelb.config.model.logs import Escape
from kubelb.config.variables import Ended, Worker, session_variables

_UNSAFE = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]')
_JSON_UNSAFE = re.compile(rb'[\x00-\x1f"\\]')
_JSON_SHORT = {b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t", b"\b": rb"\b", b"\f": rb"\f", b'"': rb"\"", b"\\": rb"\\"}
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def _hexadecimal(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % ord(match[0])


def _short(match: re.Match[bytes]) -> bytes:
    return _JSON_SHORT.get(match[0]) or b"\\u%04X" % ord(match[0])


def escape_default(value: bytes | None) -> bytes:
    """Whatever is not printable ASCII, and quotes and backslashes, as ``\\xXX``; a dash where there is no value."""
    return b"-" if value is None else _UNSAFE.sub(_hexadecimal, value)


def escape_json(value: bytes | None) -> bytes:
    """As it stands within a JSON string; nothing where there is no value."""
    return b"" if value is None else _JSON_UNSAFE.sub(_short, value)


def one_line(value: bytes | None) -> bytes:
    """As it is, but for control characters, as ``\\xXX``: what a client says begins no other message."""
    return _CONTROL.sub(_hexadecimal, value or b"")


_ESCAPES: Final[Mapping[Escape, Callable[[bytes | None], bytes]]] = {
    "default": escape_default,
    "json": escape_json,
    "none": plain,
}
_NOBODY: Final = Worker("", 0)


def compile_format(text: str, escape: Escape, worker: Worker = _NOBODY, syslog: bool = False) -> Expression[Ended]:
    """A line without its end, of a file or for ``syslog``. Raises :class:`ValueError`, saying what would be right."""
    escaped = one_line if syslog and escape == "none" else _ESCAPES[escape]
    return Expression(text, _named(worker), escaped)


def _named(worker: Worker) -> dict[str, Variable[Ended]]:
    """nginx's log formats do not know what has been captured by its number."""
    return {name: variable for name, variable in session_variables(worker).items() if not name.isdigit()}


def compile_condition(text: str, worker: Worker = _NOBODY) -> Callable[[Ended], bool]:
    """Whether a session is to be logged: nginx's ``if=``, which a value of nothing or ``0`` denies.

    Raises :class:`ValueError`, saying what would be right.
    """
    expression = Expression(text, session_variables(worker))
    return lambda ended: expression(ended) not in (b"", b"0")
