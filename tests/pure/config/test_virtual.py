"""Which server answers for which name. nginx is asked the same in tests/oracle/test_http.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.model.http import HttpServer
from kubelb.config.values import Address
from kubelb.config.virtual import Virtual, host_name
from kubelb.reasons import ValueFault

_HERE, _THERE = Address("127.0.0.1", 80), Address("127.0.0.1", 81)
_ELSEWHERE = HttpServer(listen=(_THERE,), server_names=("a.example",))
_FIRST = HttpServer(listen=(_HERE,), server_names=("a.example", "*.wild.example", "www.*"))
_NAMELESS = HttpServer(listen=(_HERE, _THERE))
_LAST = HttpServer(listen=(_HERE,), server_names=("x.wild.example", ".dot.example"), default_on=(_HERE,))
_SERVERS = (_ELSEWHERE, _FIRST, _NAMELESS, _LAST)


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("a.example", _FIRST),
        ("b.wild.example", _FIRST),
        ("x.wild.example", _LAST),
        ("wild.example", _LAST),
        ("dot.example", _LAST),
        ("a.b.dot.example", _LAST),
        ("www.anything", _FIRST),
        ("www.dot.example", _LAST),
        ("", _NAMELESS),
        ("nobody.example", _LAST),
        ("\xe4", _LAST),
    ],
)
def test_the_name_chooses(name: str, server: HttpServer) -> None:
    assert Virtual(_SERVERS, _HERE).server(name) is server


def test_only_servers_of_the_address_count() -> None:
    there = Virtual(_SERVERS, _THERE)
    assert there.servers == (_ELSEWHERE, _NAMELESS)
    assert there.default is _ELSEWHERE
    assert there.server("x.wild.example") is _ELSEWHERE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A.example", "a.example"),
        ("a:80", "a"),
        ("a.:80", "a"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("[a", "[a"),
    ],
)
def test_a_name_is_without_port_and_last_dot(text: str, name: str) -> None:
    assert host_name(text) == name


@pytest.mark.parametrize("text", ["", ".", ":80", "a b", "a/b", "a..b", "a\x7f", "a\0"])
def test_some_texts_are_no_name(text: str) -> None:
    with pytest.raises(ValueFault, match="invalid host"):
        host_name(text)


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = host_name(text)
    except ValueError:
        return
    assert name.encode("latin-1") == name.encode("latin-1").lower()
    assert Virtual(_SERVERS, _HERE).server(name) in _SERVERS
