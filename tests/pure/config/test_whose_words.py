"""What is wrong with a text is said in our own words: from all that reads texts nothing but our own faults come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.config import access, http_variables, lookup, overrides, proxying, values, variables
from kubelb.config.cp_hosts import read_cp_hosts
from kubelb.config.faults import ConfigFault
from kubelb.config.nginx import listen, process, syntax, syslog
from kubelb.config.nginx.logs import parse_error_log
from kubelb.config.regex.compiled import compile_regex
from kubelb.discovery.message import encode_name
from kubelb.inet import packed
from kubelb.reasons import ValueFault
from kubelb.syslog.message import check_tag

OF_FILES: list[Callable[[str], object]] = [
    access.parse_access,
    access.parse_network,
    access.parse_trusted,
    check_tag,
    encode_name,
    http_variables.compile_http,
    listen.parse_addresses,
    lookup.parse_geo_network,
    lookup.parse_percent,
    packed,
    process.parse_mask,
    proxying.compile_rate,
    proxying.compile_source,
    proxying.parse_size,
    proxying.parse_source,
    syntax.parse_count,
    syntax.parse_listen,
    syntax.parse_time,
    syslog.parse_syslog,
    variables.compile_answer,
    variables.compile_key,
]
OF_ARGUMENTS: list[Callable[[str], object]] = [
    overrides.parse_on_down,
    overrides.parse_probing,
    overrides.parse_rebalance,
    overrides.parse_threads,
    overrides.parse_workers,
    read_cp_hosts,
    values.parse_address,
    values.parse_duration,
    values.parse_path,
]
_LONG = "9" * 5000
"""int() reads no more than 4300 digits, and says so in Python's words."""
_PIECES = [
    *(_LONG, "0" * 5000, "1", "256", "a", ".", ":", "/", "-", "[", "]", "$", "{", "}", "m", "s", "k", "%", "=", " "),
    *("\0", "ä", "٣", "unix:", "allow ", "deny ", "http:", "https:/", ",", "(", ")", "*", "\\", "^", "\n"),
]
_texts = st.lists(st.sampled_from(_PIECES), max_size=7).map("".join)
_arguments = st.lists(st.sampled_from([*_PIECES, "\udcff"]), max_size=7).map("".join)
"""Of the command line or the environment, where a byte may be none of a character."""


@pytest.mark.parametrize("parse", OF_ARGUMENTS, ids=lambda parse: parse.__name__)
@settings(deadline=None)
@given(_arguments)
def test_arguments(parse: Callable[[str], object], text: str) -> None:
    with suppress(ValueFault, ConfigFault):
        parse(text)


@pytest.mark.parametrize("parse", OF_FILES, ids=lambda parse: parse.__name__)
@settings(deadline=None)
@given(_texts)
def test_settings(parse: Callable[[str], object], text: str) -> None:
    with suppress(ValueFault, ConfigFault):
        parse(text)


@settings(deadline=None)
@given(_texts, st.booleans())
def test_regular_expressions(text: str, any_case: bool) -> None:
    with suppress(ValueFault):
        compile_regex(text, any_case)


@given(st.lists(_texts, min_size=1, max_size=2))
def test_error_logs(args: list[str]) -> None:
    with suppress(ValueFault):
        parse_error_log(tuple(args))


@given(_texts, st.booleans())
@pytest.mark.parametrize("digits", [_LONG, "0" * 5000 + "1"])
def test_long_numbers(digits: str, text: str, whole_seconds: bool) -> None:
    with suppress(ValueFault):
        syntax.parse_time(f"{digits}{text}", whole_seconds)
    with suppress(ValueFault):
        compile_regex(f"a{{{digits}}}", any_case=False)
    with suppress(ValueFault):
        packed(f"::{digits}.1.1.1")
