from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubelb.config.proxying import compile_rate, compile_source, parse_size, parse_source
from kubelb.config.variables import Client
from kubelb.reasons import ValueFault

CLIENT = Client(7, ("10.0.0.7", 40000), ("10.0.0.1", 6443))
NO_SIZES = ("", "k", "1g", "1kk", "-1", "1 k", "0x10", "1.5m", "9" * 20, "\u0661")
NO_SOURCES = ("eth0", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.256", "[::1]", "[::1]4000", ":80", "::g")


@given(st.integers(0, 10**12 - 1))
def test_sizes(count: int) -> None:
    assert parse_size(str(count)) == count
    assert parse_size(f"{count}k") == parse_size(f"{count}K") == count << 10
    assert parse_size(f"{count}m") == parse_size(f"{count}M") == count << 20


@pytest.mark.parametrize("text", NO_SIZES)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueFault, match="not a size"):
        parse_size(text)


@given(st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str), st.integers(1, 65535))
def test_sources(host: str, port: int) -> None:
    assume(host not in ("255.255.255.255", "::ffff:255.255.255.255", "::ffff:ffff:ffff"))
    plain, _ = parse_source(host)
    bracketed = f"[{host}]" if ":" in host else host
    assert parse_source(f"{bracketed}:{port}") == (plain, port)
    assert parse_source(plain) == (plain, 0)


@pytest.mark.parametrize("text", NO_SOURCES)
def test_no_sources(text: str) -> None:
    with pytest.raises(ValueFault, match="invalid address"):
        parse_source(text)


def test_texts_with_variables() -> None:
    assert compile_rate("${server_port}0")(CLIENT) == 64430
    assert compile_source("$remote_addr")(CLIENT) == ("10.0.0.7", 0)
    assert compile_source("")(CLIENT) is None
    assert compile_source("$proxy_protocol_addr")(CLIENT) is None


@pytest.mark.parametrize("text", ["$remote_addr", "${server_port}g"])
def test_texts_that_make_no_size_of_a_client(text: str) -> None:
    with pytest.raises(ValueFault, match="not a size"):
        compile_rate(text)(CLIENT)


@pytest.mark.parametrize("text", ["fast", "$nothing", "$bytes_sent"])
def test_texts_that_never_make_one(text: str) -> None:
    with pytest.raises(ValueFault, match=r"not a size|unknown|not known yet"):
        compile_rate(text)
