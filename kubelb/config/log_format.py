"""Lines of an access log: a format and its escaping, as nginx's ``log_format`` has them; pure.

Sources: ``ngx_stream_log_escape`` (nginx's src/stream/ngx_stream_log_module.c), ``ngx_escape_json``
(src/core/ngx_string.c), and for requests ``ngx_http_log_compile_format`` (src/http/modules/ngx_http_log_module.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, TypeVar

from kubelb.config.expression import Expression, Variable, plain
from kubelb.config.http_variables import Asked, http_variables, logged_variables
from kubelb.config.model.logs import Escape
from kubelb.config.variables import Ended, Worker, session_variables

T = TypeVar("T")

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
    """A line without its end, of a file or for ``syslog``. Raises :class:`ValueFault`, saying what would be right."""
    return Expression(text, _named(worker), _escaped(escape, syslog))


def compile_request_format(
    text: str, escape: Escape, worker: Worker = _NOBODY, syslog: bool = False
) -> Expression[Asked]:
    """The same of a request for health."""
    return Expression(text, logged_variables(worker), _escaped(escape, syslog))


def _escaped(escape: Escape, syslog: bool) -> Callable[[bytes | None], bytes]:
    return one_line if syslog and escape == "none" else _ESCAPES[escape]


def _named(worker: Worker) -> dict[str, Variable[Ended]]:
    """nginx's log formats do not know what has been captured by its number."""
    return {name: variable for name, variable in session_variables(worker).items() if not name.isdigit()}


def compile_condition(text: str, worker: Worker = _NOBODY) -> Callable[[Ended], bool]:
    """Whether a session is to be logged: nginx's ``if=``, which a value of nothing or ``0`` denies.

    Raises :class:`ValueFault`, saying what would be right.
    """
    return _condition(Expression(text, session_variables(worker)))


def compile_request_condition(text: str, worker: Worker = _NOBODY) -> Callable[[Asked], bool]:
    """The same of a request for health."""
    return _condition(Expression(text, http_variables(worker)))


def _condition(expression: Expression[T]) -> Callable[[T], bool]:
    return lambda record: expression(record) not in (b"", b"0")


class Texts(NamedTuple):
    """How the texts of access logs are judged: each raises :class:`ValueFault`, saying what would be right."""

    check_format: Callable[[str, Escape], object]
    check_condition: Callable[[str], object]


OF_REQUESTS: Final = Texts(compile_request_format, compile_request_condition)


def of_sessions(worker: Worker) -> Texts:
    """``worker`` knows the variables."""
    return Texts(partial(compile_format, worker=worker), partial(compile_condition, worker=worker))
