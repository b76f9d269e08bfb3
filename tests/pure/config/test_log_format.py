from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.log_format import compile_format, escape_default, escape_json, one_line

SAFE = {value for value in range(0x20, 0x7F) if chr(value) not in '"\\'}


@given(st.binary())
def test_default_escaping_can_be_undone_and_is_printable(value: bytes) -> None:
    escaped = escape_default(value)
    assert re.sub(rb"\\x([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), escaped) == value
    assert set(escaped) <= SAFE | {ord("\\")}
    assert escaped == value or not set(value) <= SAFE


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_escaping_is_json(value: str) -> None:
    assert json.loads(b'"' + escape_json(value.encode()) + b'"') == value


@pytest.mark.parametrize(
    ("value", "by_default", "as_json"),
    [
        (b'a"b\\c', rb"a\x22b\x5Cc", rb"a\"b\\c"),
        (b"\n\r\t\b\f", rb"\x0A\x0D\x09\x08\x0C", rb"\n\r\t\b\f"),
        (b"\x00\x1f\x7f\xff", rb"\x00\x1F\x7F\xFF", b"\\u0000\\u001F\x7f\xff"),
        (b"", b"", b""),
        (None, b"-", b""),
    ],
)
def test_as_nginx_escapes(value: bytes | None, by_default: bytes, as_json: bytes) -> None:
    assert escape_default(value) == by_default
    assert escape_json(value) == as_json


def test_a_format_without_variables_is_itself() -> None:
    assert compile_format('a"\\', "default")(None) == b'a"\\'  # type: ignore[arg-type]


@given(st.none() | st.binary())
def test_a_syslog_message_is_one_line_whatever_a_client_says(value: bytes | None) -> None:
    escaped = one_line(value)
    control = {*range(32), 127}
    assert not set(escaped) & control
    assert escaped == (value or b"") or set(value or b"") & control
    assert one_line(b"a\nb\x7f") == rb"a\x0Ab\x7F"
