"""Which part of a plain value is not what a type says: msgspec's verdict, in our words."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.misfits import misfit, misfit_of
from kubelb.config.model.config import Config


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    share: float = 0.0
    mode: Literal["a", "b"] = "a"


class _Outer(msgspec.Struct, tag="outer"):
    name: str
    pair: tuple[str, int] = ("", 0)
    many: tuple[_Inner, ...] = ()
    by_name: dict[str, _Inner] = {}
    one: _Inner | None = None
    flag: bool = msgspec.field(default=False, name="is")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"type": "outer", "name": "x", "new": 1, "is": True, "one": None}, ""),
        ([], "not a list"),
        ({"type": "outer"}, "name: missing"),
        ({"type": "outer", "name": 1}, "name: not 1"),
        ({"type": "outer", "name": None}, "name: not null"),
        ({"type": "outer", "name": "x", "is": "y"}, 'is: not "y"'),
        ({"type": "outer", "name": "x", "pair": ["a", "b"]}, 'pair[1]: not "b"'),
        ({"type": "outer", "name": "x", "pair": ["a"]}, "pair: not a list"),
        ({"type": "outer", "name": "x", "many": [{"count": 1}, {"count": 1.5}]}, "many[1].count: not 1.5"),
        ({"type": "outer", "name": "x", "many": {}}, "many: not a table"),
        ({"type": "outer", "name": "x", "by_name": {"a b": {"count": 1, "c": 2}}}, 'by_name."a b".c: unknown key'),
        ({"type": "outer", "name": "x", "one": {"count": 1, "mode": "c"}}, 'one.mode: not "c"'),
        ({"type": "outer", "name": "x", "one": {"count": 1 << 99}}, ""),
        ({"type": "outer", "name": ["x" * 5000]}, "name: not a list"),
        ({"type": "outer", "name": "x", "is": "y" * 5000}, 'is: not "' + "y" * 59 + "..."),
    ],
)
def test_the_first_part_that_does_not_fit(value: object, fault: str) -> None:
    assert misfit(value, _Outer) == fault


_NAMES = ["type", "name", "pair", "many", "by_name", "one", "is", "count", "share", "mode", "listener", "pool", "log"]
_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_NAMES) | st.text(), inner),
)


@given(_plain, st.sampled_from([_Outer, Config, dict[str, _Inner], tuple[_Inner, ...]]))
def test_it_is_told_just_where_msgspec_refuses(value: object, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        assert misfit(value, kind)
    else:
        assert misfit(value, kind) == ""


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not JSON"),
        (b'{"count": 1', "not JSON"),
        (b'{"count": "\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"7", "not 7"),
        (b'{"count": "one"}', 'count: not "one"'),
    ],
)
def test_encoded_data(data: bytes, fault: str) -> None:
    assert misfit_of(data, msgspec.json.decode, _Inner, "JSON") == fault
