from __future__ import annotations

import re
from bisect import bisect_right
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.lookup import (
    MapKeys,
    check_map_keys,
    geo_finder,
    map_finder,
    murmur2,
    parse_geo_network,
    parse_percent,
    split_finder,
)
from kubelb.config.model.variables import Part, Variable
from kubelb.reasons import ValueFault

labels = st.sampled_from(["a", "b", "c", ""])
names = st.lists(labels, max_size=4).map(".".join)


def a_map(values: dict[str, str], hostnames: bool = True) -> Variable:
    return Variable(kind="map", values=values, default="none", hostnames=hostnames)


@given(st.dictionaries(st.text(st.characters(codec="ascii"), max_size=4), st.text(max_size=3)), st.text(max_size=4))
def test_a_map_finds_what_is_there_whatever_the_case(values: dict[str, str], text: str) -> None:
    values = {key.lower(): value for key, value in values.items()}
    find = map_finder(a_map(values, hostnames=False))
    assert find(text.upper().encode()).value == values.get(text.upper().encode().lower().decode(), "none")


def slowly(values: dict[str, str], name: str) -> str:
    """The rule as nginx's documentation has it."""
    name = name.removesuffix(".")
    fits = []
    for key, value in values.items():
        if key.startswith("*.") and name.endswith(key[1:]):
            fits.append((1, len(key) - 2, value))
        elif key.startswith(".") and len(key) > 1 and (name == key[1:] or name.endswith(key)):
            fits.append((3 if name == key[1:] else 1, len(key) - 1, value))
        elif key.endswith(".*") and name.startswith(key[:-1]):
            fits.append((0, len(key), value))
        elif key == name:
            fits.append((3, 0, value))
    return max(fits)[2] if fits else "none"


keys = st.one_of(
    names,
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda parts: "*." + ".".join(parts)),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda parts: "." + ".".join(parts)),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda parts: ".".join(parts) + ".*"),
)


@given(st.lists(keys, max_size=6), names)
def test_wildcards_are_found_in_their_order(chosen: list[str], name: str) -> None:
    taken, values = MapKeys(), {}
    for number, key in enumerate(chosen):
        try:
            taken.add(key, hostnames=True)
        except ValueError:
            continue
        values[key] = str(number)
    assert map_finder(a_map(values))(name.encode()).value == slowly(values, name)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (["*.a.*"], 'invalid hostname or wildcard "*.a.*"'),
        (["a*b"], 'invalid hostname or wildcard "a*b"'),
        (["*"], 'invalid hostname or wildcard "*"'),
        (["a..b"], 'invalid hostname or wildcard "a..b"'),
        ([".a", "a"], 'conflicting parameter "a"'),
        (["a", ".a"], 'conflicting parameter ".a"'),
        (["*.a", ".A"], 'conflicting parameter ".A"'),
        (["a.*", "A.*"], 'conflicting parameter "A.*"'),
    ],
)
def test_keys_that_are_none(values: list[str], fault: str) -> None:
    with pytest.raises(ValueFault, match=f"^{re.escape(fault)}$"):
        check_map_keys(a_map(dict.fromkeys(values, "x")))


def test_without_hostnames_a_star_is_a_star() -> None:
    check_map_keys(a_map({"*": "x", "*.a": "y", "a": "z"}, hostnames=False))


networks4 = st.builds(
    lambda a, p: IPv4Network((a, p), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
).filter(lambda network: str(network) != "255.255.255.255/32")
"""nginx takes that one, which is its mark of no address, without its length only."""
networks6 = st.builds(lambda a, p: IPv6Network((a, p), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128))
addresses = st.ip_addresses()


@given(st.sets(st.one_of(networks4, networks6), max_size=8), st.data())
def test_the_smallest_network_counts(networks: set[IPv4Network | IPv6Network], data: st.DataObject) -> None:
    within = [st.sampled_from([network[0], network[-1]]) for network in networks]
    address = data.draw(st.one_of(addresses, *within))
    find = geo_finder(Variable(kind="geo", values={str(network): str(network) for network in networks}, default="no"))
    asked: IPv4Address | IPv6Address = address
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        asked = address.ipv4_mapped
    fits = [network for network in networks if asked.version == network.version and asked in network]
    best = max(fits, key=lambda network: network.prefixlen, default=None)
    assert find(str(address).encode()).value == ("no" if best is None else str(best))


@pytest.mark.parametrize("text", [b"", b"unix:", b"x", b"10.0.0.1:80", b"\xff\xfe"])
def test_what_is_no_address_counts_as_the_last(text: bytes) -> None:
    find = geo_finder(Variable(kind="geo", values={"255.255.255.255": "none", "0.0.0.0/0": "any"}))
    assert find(text).value == "none"
    assert find(b"10.0.0.1").value == "any"


@pytest.mark.parametrize("text", ["unix:", "x", "10.0.0.0/33", "proxy", "1.2.3.4-1.2.3.5", "255.255.255.255/8"])
def test_networks_that_are_none(text: str) -> None:
    with pytest.raises(ValueFault, match=r"^invalid network"):
        parse_geo_network(text)


def test_meaningless_bits_are_warned_of() -> None:
    warnings: list[str] = []
    assert str(parse_geo_network("10.1.2.3/8", warnings.append)) == "10.0.0.0/8"
    assert warnings == ["low address bits of 10.1.2.3/8 are meaningless"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"", 0),
        (b"a", 0x92685F5E),
        (b"ab", 0x1AA14063),
        (b"abc", 0x13577C9B),
        (b"abcd", 0x26873021),
        (b"abcde", 0x5F09A8DE),
        (b"127.0.0.1", 0xB6131D91),
        (b"\xff\xfe\xfd", 0x3D614590),
    ],
)
def test_the_hash_is_that_of_nginx(text: bytes, number: int) -> None:
    """The numbers are from its ngx_murmur_hash2."""
    assert murmur2(text) == number


@given(st.lists(st.integers(1, 2500), max_size=4), st.binary(max_size=12))
def test_parts_are_shares_of_the_hash(shares: list[int], text: bytes) -> None:
    parts = tuple(Part(percent=f"{share / 100}%", value=str(i)) for i, share in enumerate(shares))
    variable = Variable(kind="split_clients", parts=parts, default="rest")
    ends = list(accumulate(share * 0xFFFFFFFF // 10000 for share in shares))
    before = bisect_right(ends, murmur2(text))
    assert split_finder(variable)(text).value == (str(before) if before < len(parts) else "rest")


@pytest.mark.parametrize(
    ("text", "hundredths"),
    [("50%", 5000), ("0.5%", 50), (".05%", 5), ("1.%", 100), ("100%", 10000), ("33.33%", 3333)],
)
def test_percents(text: str, hundredths: int) -> None:
    assert parse_percent(text) == hundredths


@pytest.mark.parametrize("text", ["", "%", "50", "0%", "0.001%", "1.2.3%", "-1%", "x%", "1e1%", "٣%"])
def test_percents_that_are_none(text: str) -> None:
    with pytest.raises(ValueFault, match=r"^invalid percent value"):
        parse_percent(text)
