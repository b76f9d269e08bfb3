from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.lookup import geo_finder
from kubelb.config.model.variables import Variable
from kubelb.config.nginx.ranges import Ranges
from kubelb.reasons import ValueFault

FIRST = int(IPv4Address("10.0.255.240"))
"""The addresses that are tried lie about a border of two /16 networks."""
COUNT = 32
places = st.integers(0, COUNT - 1).map(lambda place: FIRST + place)
steps = st.tuples(places, places, st.booleans())


def text(start: int, end: int) -> str:
    return f"{IPv4Address(start)}-{IPv4Address(end)}"


@given(st.lists(steps, max_size=12))
def test_the_later_range_counts(chosen: list[tuple[int, int, bool]]) -> None:
    ranges, expected = Ranges(), dict.fromkeys(range(FIRST, FIRST + COUNT), "none")
    for number, (one, other, deleting) in enumerate(chosen):
        start, end = sorted((one, other))
        if deleting:
            whole = ranges.delete(text(start, end))
            left = found(ranges)
            gone = {place for place in left if left[place] != expected[place]}
            assert all(start <= place <= end and left[place] == "none" for place in gone)
            assert not whole or all(left[place] == "none" for place in range(start, end + 1))
            expected = left
        else:
            try:
                ranges.add(text(start, end), str(number))
            except ValueError:
                return
            expected.update(dict.fromkeys(range(start, end + 1), str(number)))
        assert found(ranges) == expected


def found(ranges: Ranges) -> dict[int, str]:
    find = geo_finder(Variable(kind="geo", values=dict(ranges.networks()), default="none"))
    return {place: find(str(IPv4Address(place)).encode()).value for place in range(FIRST, FIRST + COUNT)}


def test_neighbours_of_one_value_are_one_network() -> None:
    ranges = Ranges()
    ranges.add("10.0.0.0-10.0.127.255", "a")
    ranges.add("10.0.128.0-10.1.255.255", "a")
    assert list(ranges.networks()) == [(str(IPv4Network("10.0.0.0/15")), "a")]


def test_what_was_there_before_is_told() -> None:
    ranges = Ranges()
    assert ranges.add("10.0.0.0-10.2.0.5", "a") is None
    assert ranges.add("10.1.0.0-10.1.255.255", "b") == "a"
    assert ranges.add("10.0.0.1-10.0.0.1", "c") is None
    with pytest.raises(ValueFault, match=r'^range "10.2.0.4-10.2.0.6" overlaps "10.2.0.0-10.2.0.5"$'):
        ranges.add("10.2.0.4-10.2.0.6", "d")
    assert not ranges.delete("10.0.0.0-10.0.0.1")
    assert ranges.delete("10.2.0.0-10.2.0.5")


@pytest.mark.parametrize(
    "wrong",
    ["", "-", "10.0.0.1", "10.0.0.2-10.0.0.1", "::1-::2", "10.0.0.0-255.255.255.255", "a-b", "1.2.3.4 -1.2.3.5"],
)
def test_ranges_that_are_none(wrong: str) -> None:
    with pytest.raises(ValueFault, match=r"^invalid range"):
        Ranges().add(wrong, "a")


def test_many_large_ones_are_given_up() -> None:
    ranges = Ranges()
    for _ in range(4):
        ranges.add("0.0.0.0-255.255.255.254", "a")
    with pytest.raises(ValueFault, match=r"^too many large ranges"):
        ranges.add("0.0.0.0-0.0.0.1", "a")
