"""Durations, sizes and addresses: what is written is what is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.values import (
    Address,
    Duration,
    format_duration,
    parse_address,
    parse_duration,
    same_host,
)
from kubelb.reasons import ValueFault


@given(st.floats(min_value=0, max_value=1e12))
def test_a_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("250ms", 0.25), ("1h30m", 5400), ("7", 7), ("1d", 86400), ("0.5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "1m ", " 1m", "-1s", "1e3", "١s"])
def test_not_durations(text: str) -> None:
    with pytest.raises(ValueFault, match="not a duration: "):
        parse_duration(text)


@given(
    st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z]{1,9})?", fullmatch=True)),
    st.integers(1, 65535),
)
def test_an_address_reads_back(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", 'not an address: ""'),
        ("a", 'no port in "a"'),
        ("a:", 'port out of range in "a:"'),
        ("a:0", 'port out of range in "a:0"'),
        ("a:65536", 'port out of range in "a:65536"'),
        ("a:1x", 'port out of range in "a:1x"'),
        ("a:" + "9" * 5000, "port out of range in"),
        ("a:١", 'port out of range in "a:١"'),
        ("::1:443", r'IPv6 without brackets: "::1:443"; write \[::1:443\]:port'),
        ("[::1:443", "not an address: "),
        ("[::zz]:443", 'not an IPv6 address: "::zz"'),
        ("[a]:443", "not an address: "),
        ("a b:443", "not an address: "),
        ("*:443", "not an address: "),
    ],
)
def test_not_addresses(text: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=fault):
        parse_address(text)


_PATHS = st.text(st.characters(blacklist_categories=("C", "Z")), max_size=106).map("/{}".format)


@given(_PATHS, st.sampled_from(["unix:", "UNIX:", "Unix:"]))
def test_a_unix_socket_reads_back(path: str, unix: str) -> None:
    if len(path.encode()) > 107:
        with pytest.raises(ValueFault, match="too long path in the unix domain socket"):
            parse_address(unix + path)
        return
    address = parse_address(unix + path)
    assert (address.path, str(address), address.port) == (path, f"unix:{path}", 0)
    assert parse_address(str(address), 80) == address
    assert not address.is_name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("unix:", "no path in the unix domain socket"),
        ("unix:" + "/" * 108, "too long path"),
        ("unix:a", "begin it with /"),
        ("unix:/a\0", "control characters"),
        ("unix", 'no port in "unix"'),
    ],
)
def test_no_unix_socket(text: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=fault):
        parse_address(text)


def test_what_has_to_be_looked_up() -> None:
    assert [Address(host, 1).is_name for host in ("a", "unix", "10.0.0.1", "::1")] == [True, True, False, False]


def test_a_port_may_have_a_default() -> None:
    assert parse_address("[::1]", 6443) == Address("::1", 6443)
    assert parse_address("a", 6443) == Address("a", 6443)


def test_same_host() -> None:
    assert same_host("0::1") == same_host("::1")
    assert same_host("LocalHost") == same_host("localhost")
    assert same_host("unix:/A") != same_host("unix:/a")
    assert same_host("10.0.0.1") != same_host("10.0.0.2")


def test_a_duration_shows_as_it_is_written() -> None:
    assert str(Duration(0.25)) == "250ms"
