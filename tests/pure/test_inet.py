"""Addresses as text: those that everybody writes alike, and those that nginx has its own view of."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kubelb.inet import packed, packed_host, shown, unmapped
from kubelb.reasons import ValueFault

_sparse = st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0xABCD, 0x0B00]), min_size=8, max_size=8).map(
    lambda words: IPv6Address(b"".join(word.to_bytes(2, "big") for word in words))
)
_addresses = st.one_of(st.ip_addresses(), _sparse)


@given(_addresses)
def test_the_usual_texts_are_read(address: IPv4Address | IPv6Address) -> None:
    assume("255.255.255.255" not in str(address))
    assert packed(str(address)) == address.packed
    assert packed(address.exploded.upper()) == address.packed


@given(_addresses)
@example(IPv6Address("::"))
def test_what_is_shown_means_the_same(address: IPv4Address | IPv6Address) -> None:
    assert ip_address(shown(address.packed)) == address
    assert packed_host(shown(address.packed)) == address.packed


@given(_addresses)
def test_what_is_shown_is_short(address: IPv4Address | IPv6Address) -> None:
    text = shown(address.packed)
    assert "." in text or text == str(address)


@given(st.text("0123456789abcdefABCDEF:.٣x", max_size=45))
def test_any_text_is_an_address_or_none(text: str) -> None:
    try:
        address = packed(text)
    except ValueError:
        return
    assert len(address) in (4, 16)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1..2.3", "1.0.2.3"),
        ("...", "0.0.0.0"),
        ("010.0008.1.1", "10.8.1.1"),
        (":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("1::2:", "1::2:0"),
        (":", None),
        ("", None),
        ("1:2:3:4:5:6:7::", None),
        ("1:2:3:4:5:6:7:8:", None),
        ("1:2:3:4:5:6:7:8:9", None),
        ("1:2:3:4:5:6:7", None),
        ("1::2::3", None),
        ("12345::", None),
        ("255.255.255.255", None),
        ("::255.255.255.255", None),
        ("::1.2.3.4", "::1.2.3.4"),
        ("::00001.2.3.4", None),
        ("::.2.3.4", None),
        ("::1.2.3.4:5", None),
        ("1:2:3:4:5:6:7:1.2.3.4", None),
        ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
        (":1.2.3.4", None),
        ("256.1.1.1", None),
        ("1.1.1", None),
        ("1.1.1.1.", None),
        ("١.1.1.1", None),
        ("fe80::1%eth0", None),
        ("localhost", None),
    ],
)
def test_the_unusual_texts(text: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(ValueFault, match="not a"):
            packed(text)
    else:
        assert packed(text) == ip_address(meant).packed


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("::", "::"),
        ("::1", "::1"),
        ("::abcd", "::0.0.171.205"),
        ("::ab01", "::ab01"),
        ("::1:0", "::0.1.0.0"),
        ("::ffff:102:304", "::ffff:1.2.3.4"),
        ("::fffe:102:304", "::fffe:102:304"),
        ("1::", "1::"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"),
        ("1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0"),
    ],
)
def test_shown(address: str, text: str) -> None:
    assert shown(IPv6Address(address).packed) == text


@given(st.ip_addresses(v=6) | st.ip_addresses(v=4).map(lambda address: IPv6Address(f"::ffff:{address}")))
def test_mapped_addresses(address: IPv6Address) -> None:
    assert unmapped(address.packed) == (address.ipv4_mapped or address).packed
