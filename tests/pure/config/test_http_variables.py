"""Variables of a request. Most are compared with nginx's own in tests/oracle/test_http.py; here the others."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb import __version__
from kubelb.config.http_head import parse_head
from kubelb.config.http_variables import MAX_VARIABLES, Asked, Connections, compile_http
from kubelb.config.variables import Client, Ended, Opening, Worker
from kubelb.reasons import ValueFault

_NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone(timedelta(hours=1)))
_WORKER = Worker("Node.Example", 7)


def _asked(data: bytes = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n") -> Asked:
    client = Client(9, ("fe80::1%lo", 40000), ("127.0.0.1", 8081))
    return Asked(
        head=parse_head(data),
        so_far=Ended(Opening(client, 0.0, ()), 204, now=0.0, at=_NOW, bytes_up=0, bytes_down=0),
        server_name="first.example",
        connections=Connections(active=4, reading=1, writing=2, waiting=3),
        number=5,
        identity=bytes(range(16)),
        seconds=0.0126,
        connected=61.5,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$connection/$connection_requests/$connection_time", "9/5/61.500"),
        ("$connections_active $connections_reading $connections_writing $connections_waiting", "4 1 2 3"),
        ("$hostname:$pid", "node.example:7"),
        ("$msec", "1767319445.678"),
        ("$time_iso8601 $time_local", "2026-01-02T03:04:05+01:00 02/Jan/2026:03:04:05 +0100"),
        ("$request_time $request_id", "0.013 000102030405060708090a0b0c0d0e0f"),
        ("$nginx_version", __version__),
        ("$remote_addr:$remote_port", "fe80::1:40000"),
        ("$status", "204"),
        ("$HOST${host}x$server_name", "bbxfirst.example"),
    ],
)
def test_values(text: str, expected: str) -> None:
    assert compile_http(text, _WORKER)(_asked()).decode() == expected


def test_without_a_host_it_is_the_servers_name() -> None:
    assert compile_http("$host")(_asked(b"GET / HTTP/1.0\r\n\r\n")) == b"first.example"


@pytest.mark.parametrize(
    "text", ["$nothing", "$", "$1", "${host", "$bytes_received", "$upstream_name", "$sent_http_x", "$pipe"]
)
def test_what_is_no_text(text: str) -> None:
    with pytest.raises(ValueFault, match=r"unknown|invalid|missing"):
        compile_http(text)


def test_a_text_has_so_many_variables_at_most() -> None:
    compile_http("$uri" * MAX_VARIABLES)
    with pytest.raises(ValueFault, match="at most"):
        compile_http("$uri" * (MAX_VARIABLES + 1))


_NAMES = st.from_regex(r"[a-c_]{1,3}", fullmatch=True)


@given(st.lists(st.tuples(_NAMES, st.from_regex(r"[a-c]{0,3}", fullmatch=True)), max_size=5), _NAMES)
def test_arguments_and_cookies_are_found_by_their_names(pairs: list[tuple[str, str]], name: str) -> None:
    query = "&".join(f"{one}={value}" for one, value in pairs)
    cookies = "; ".join(f"{one}={value}" for one, value in pairs)
    asked = _asked(f"GET /?{query} HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n".encode())
    expected = next((value for one, value in pairs if one == name), "").encode()
    assert compile_http(f"$arg_{name}")(asked) == expected
    assert compile_http(f"$cookie_{name}")(asked) == expected
