from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.cli.figures import aligned, called, length, rate, size

FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0"), (999, "999"), (999.6, "1.0k"), (1000, "1.0k"), (1500, "1.5k"), (9949, "9.9k"), (9951, "10k")),
        *((999_499, "999k"), (999_501, "1.0M"), (23_400_000, "23M"), (10**18, "1.0E")),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@given(st.floats(0, 9e20))
def test_a_size_takes_four_columns_and_is_about_right(count: float) -> None:
    text = size(count)
    assert len(text) <= 4
    read = float(text.rstrip("kMGTPE")) * FACTORS.get(text[-1], 1)
    assert abs(read - count) <= max(0.5, 0.051 * count)


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0.0, "0"), (0.04, "0"), (0.05, "0.1"), (9.94, "9.9"), (9.96, "10"), (2000, "2.0k")],
)
def test_rates(count: float | None, text: str) -> None:
    assert rate(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (59.4, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400 * 9, "9d")]
)
def test_lengths(seconds: float, text: str) -> None:
    assert length(seconds) == text


def test_a_server_is_called_by_its_name_and_by_an_address_that_is_not_that() -> None:
    assert called("10.0.0.1:1", "10.0.0.1:1") == "10.0.0.1:1"
    assert called("a.example:1", "10.0.0.1:1") == "a.example:1 at 10.0.0.1:1"


def test_a_table_is_aligned() -> None:
    assert list(aligned(["name", "n"], [["a", "1"], ["longer", "234"]], left=1)) == [
        "name      n",
        "a         1",
        "longer  234",
    ]
    assert list(aligned(["name", "n"], [], left=1)) == ["name  n"]
