"""What may stand where: crossplane's verdict on its own table, in nginx's words."""

from __future__ import annotations

import pytest
from crossplane import analyzer
from crossplane.errors import NgxParserDirectiveError
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.nginx.table import _ALSO, misplaced, within


@given(
    st.sampled_from([*analyzer.DIRECTIVES, "frobnicate"]),
    st.lists(st.sampled_from(["on", "OFF", "x", "%s"]), max_size=9),
    st.sampled_from([";", "{"]),
    st.sampled_from([*analyzer.CONTEXTS, ("stream", "map")]),
)
def test_the_verdict(name: str, args: list[str], end: str, context: tuple[str, ...]) -> None:
    wrong = misplaced(name, args, end, context)
    statement = {"directive": name, "line": 1, "args": [arg.replace("%", "") for arg in args]}
    try:
        analyzer.analyze("", statement, end, context)
    except NgxParserDirectiveError:
        assert f'"{name}"' in (wrong or f'"{name}"' * (name in _ALSO))
    else:
        assert wrong is None


@pytest.mark.parametrize(
    ("name", "args", "end", "context", "wrong"),
    [
        ("listen", "80", ";", "", '"listen" directive is not allowed here'),
        ("proxy_timeout", "", ";", "stream", 'invalid number of arguments in "proxy_timeout" directive'),
        ("proxy_timeout", "1s", "{", "stream", 'directive "proxy_timeout" is not terminated by ";"'),
        ("stream", "", ";", "", 'directive "stream" has no opening "{"'),
        (
            "multi_accept",
            "o%s",
            ";",
            "events",
            'invalid value "o%s" in "multi_accept" directive, it must be "on" or "off"',
        ),
        ("multi_accept", "on off", ";", "events", 'invalid number of arguments in "multi_accept" directive'),
        ("set", "$a b", ";", "stream server", None),
        ("resolver", "10.0.0.1", ";", "stream upstream", None),
        ("resolver_timeout", "1s", ";", "stream upstream", None),
        ("frobnicate", "", ";", "stream", None),
    ],
)
def test_the_words(name: str, args: str, end: str, context: str, wrong: str | None) -> None:
    assert misplaced(name, args.split(), end, tuple(context.split())) == wrong


def test_blocks_within_each_other() -> None:
    assert within("server", ("stream",)) == ("stream", "server")
    assert within("location", ("http", "server")) == within("location", ("http", "location")) == ("http", "location")
