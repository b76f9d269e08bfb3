"""nginx's values, against its own rules written out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.nginx.syntax import parse_count, parse_listen, parse_time
from kubelb.config.values import Address
from kubelb.reasons import ValueFault

_STEPS = {"y": 365 * 86400, "M": 30 * 86400, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


_parts = st.tuples(st.integers(0, 999), st.sampled_from(sorted(_STEPS)))


@given(st.lists(_parts, min_size=1, max_size=4), st.none() | st.integers(0, 999), st.booleans())
def test_times(parts: list[tuple[int, str]], bare: int | None, whole_seconds: bool) -> None:
    """Units fall, none stands twice, a bare number comes last; which units there are depends on the directive."""
    text = "".join(f"{count}{unit}" for count, unit in parts) + ("" if bare is None else str(bare))
    order = [list(_STEPS).index(unit) for _, unit in parts]
    known = "ms" not in text if whole_seconds else not {"y", "M"} & set(text)
    if known and all(one < other for one, other in itertools.pairwise(order)):
        expected = sum(count * _STEPS[unit] for count, unit in parts) + (bare or 0)
        assert parse_time(text, whole_seconds) == pytest.approx(expected)
    else:
        with pytest.raises(ValueFault, match=r"not a time: .*; write for example 30s or 10m"):
            parse_time(text, whole_seconds)


@pytest.mark.parametrize("text", ["", " ", "m", "-1", "1.5s", "1 h", "9" * 30, "١"])
def test_not_times(text: str) -> None:
    with pytest.raises(ValueFault, match="not a time"):
        parse_time(text)


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("30", 30), ("250ms", 0.25), ("1h 30m", 5400)])
def test_known_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("6443", Address("0.0.0.0", 6443)),
        ("*:6443", Address("0.0.0.0", 6443)),
        ("[::]:6443", Address("::", 6443)),
        ("127.0.0.1:6443", Address("127.0.0.1", 6443)),
    ],
)
def test_listen(text: str, address: Address) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(("text", "port"), [("*", 80), ("127.0.0.1", 80), ("127.0.0.1:81", 81), ("81", 81)])
def test_listen_with_a_default_port(text: str, port: int) -> None:
    assert parse_listen(text, 80).port == port


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("unix:", "no path"),
        ("unix:a", "begin it with /"),
        ("1-2", "port ranges"),
        ("*:1-2", "port ranges"),
        ("::1", "without brackets"),
    ],
)
def test_not_listen(text: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=fault):
        parse_listen(text)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "٣", "1" * 40])
def test_not_counts(text: str) -> None:
    with pytest.raises(ValueFault, match="not a number: "):
        parse_count(text)
