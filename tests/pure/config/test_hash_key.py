from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.hash_key import compile_key

keys = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"]))


@given(plain, plain, keys)
def test_the_address_stands_where_the_variable_is(before: str, after: str, client: str) -> None:
    assert compile_key(f"{before}${{remote_addr}}{after}")(client) == before + client + after
    assert compile_key(f"{before}$remote_addr/{after}")(client) == f"{before}{client}/{after}"


@given(plain, keys)
def test_a_key_may_be_constant(text: str, client: str) -> None:
    assert compile_key(text)(client) == text


def test_the_variable_may_come_more_than_once() -> None:
    assert compile_key("$remote_addr$remote_addr")("::1") == "::1::1"


@pytest.mark.parametrize(
    "template",
    [
        "$remote_port",
        "$remote_addr_",
        "${remote}",
        "x$1",
        "$remote_addr$binary_remote_addr",
        "$",
        "a$-b",
        "${}",
        "${remote_addr",
        "$$x",
        "$ü",
    ],
)
def test_anything_else_is_refused_by_name(template: str) -> None:
    with pytest.raises(ValueError, match=r'^unknown variable "\$.*" in a hash key; only \$remote_addr can be used$'):
        compile_key(template)
