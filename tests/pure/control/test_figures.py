"""How the status page says numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.control import figures


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0 B"), (999.4, "999 B"), (999.5, "1.0 kB"), (4210, "4.2 kB"), (99_949, "99.9 kB"), (99_950, "100 kB")),
        *((999_499, "999 kB"), (999_500, "1.0 MB"), (2.5e9, "2.5 GB"), (1e12, "1.0 TB"), (1e19, "10000 PB")),
    ],
)
def test_bytes(number: float, text: str) -> None:
    assert figures.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (7500, "2 h 5 min")),
        *((86399, "23 h 59 min"), (98765, "1 d 3 h"), (8640000, "100 d")),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert figures.length(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "9 s"), (75, "1 min 15 s")]
)
def test_moments_back(seconds: float, text: str) -> None:
    assert figures.ago(seconds) == text


def test_other_figures() -> None:
    assert [figures.rate(number) for number in (0, 0.5, 12, 99.94, 123.4, 12345)] == [
        *("0", "0.5", "12", "99.9", "123", "12,345")
    ]
    assert [figures.short(seconds) for seconds in (0.0006, 0.0123, 1.5)] == ["0.6 ms", "12 ms", "1,500 ms"]
    assert [figures.plural(number, "dial") for number in (0, 1, 1000)] == ["0 dials", "1 dial", "1,000 dials"]
    assert figures.count(12345) == "12,345"


@given(st.floats(0, 999e15))
def test_bytes_never_take_much_room(number: float) -> None:
    assert len(figures.size(number)) <= len("99.9 kB")
