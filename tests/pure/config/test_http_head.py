"""The head of a request. What nginx makes of one is compared in tests/oracle/test_http.py."""

from __future__ import annotations

import posixpath
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.config.http_head import normal_path, parse_head

pieces = st.sampled_from([b"a", b"b", b"healthz", b".", b"..", b"", b"...", b"a.b", b"\xe4"])
paths = st.lists(pieces, min_size=1, max_size=6).map(lambda parts: b"/" + b"/".join(parts))


@given(paths)
def test_the_normal_form_is_normal(path: bytes) -> None:
    try:
        result = normal_path(path)
    except ValueError:
        assert b".." in path
        return
    assert result.startswith(b"/")
    assert normal_path(result) == result
    assert not {b".", b".."} & set(result.split(b"/"))
    assert result.rstrip(b"/") == b"/".join([b"", posixpath.normpath(path).lstrip(b"/")]).rstrip(b"/")


@given(paths)
def test_encoded_it_is_the_same_path(path: bytes) -> None:
    encoded = b"/" + quote_from_bytes(path[1:], safe="").encode()
    try:
        expected: bytes | None = normal_path(path)
    except ValueError:
        expected = None
    head = parse_head(b"GET " + encoded + b" HTTP/1.0\r\n\r\n")
    assert (head.path if not head.fault else None) == expected


@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET http:// HTTP/1.1\r\n\r\n")
@example(b"GET / HTTP/999999999999999999999.1\r\n\r\n")
@example(b"GET / HTTP/" + b"9" * 5000 + b".1\r\n\r\n")
def test_whatever_comes_it_is_a_head_or_a_fault(data: bytes) -> None:
    head = parse_head(data)
    assert head.fault in (0, 400, 505)
    if not head.fault:
        assert head.path.startswith(b"/")
        assert not {0, 10, 13} & set(head.target + head.query + head.host.encode("latin-1"))


@pytest.mark.parametrize(
    ("said", "keeps"),
    [
        ("1.1", True),
        ("1.0", False),
        ("1.0\r\nConnection: Keep-Alive", True),
        ("1.1\r\nConnection: close", False),
        ("1.1\r\nConnection: close\r\nConnection: keep-alive", True),
        ("1.1\r\nConnection: x, Close\r\nConnection: upgrade", False),
    ],
)
def test_whether_another_request_may_follow(said: str, keeps: bool) -> None:
    assert parse_head(f"GET / HTTP/{said}\r\nHost: a\r\n\r\n".encode()).keeps is keeps
