"""What may be said to two servers: a whole ClientHello and nothing else."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.worker.client_hello import is_lone_hello
from tests.support.hello import EARLY, client_hello, openssl_hello, record, vector

_harmless = st.tuples(st.integers(0, 0xFFFF).filter(lambda number: number != EARLY[0]), st.binary(max_size=40))
_extensions = st.none() | st.lists(_harmless, max_size=8)
_hellos = st.builds(
    client_hello,
    _extensions,
    st.integers(1, 40).flatmap(lambda pairs: st.binary(min_size=2 * pairs, max_size=2 * pairs)),
    st.binary(max_size=32),
    st.binary(min_size=1, max_size=5),
)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_openssl_says_is_one(newest: ssl.TLSVersion) -> None:
    assert is_lone_hello(openssl_hello(newest))


@given(_hellos)
def test_each_of_its_forms_is_one(hello: bytes) -> None:
    assert is_lone_hello(hello)


@given(_hellos, st.data())
def test_a_piece_of_one_is_none_nor_is_one_with_something_behind_it(hello: bytes, data: st.DataObject) -> None:
    assert not is_lone_hello(hello[: data.draw(st.integers(0, len(hello) - 1))])
    assert not is_lone_hello(hello + data.draw(st.binary(min_size=1, max_size=40)))


@given(st.lists(_harmless, max_size=4), st.binary(max_size=8), st.lists(_harmless, max_size=4))
def test_early_data_may_not_be_said_twice(
    before: list[tuple[int, bytes]], data: bytes, after: list[tuple[int, bytes]]
) -> None:
    assert not is_lone_hello(client_hello([*before, (EARLY[0], data), *after]))


@given(st.binary(max_size=300))
def test_nothing_that_is_said_is_too_much_for_it(data: bytes) -> None:
    assert is_lone_hello(data) in (True, False)
    assert is_lone_hello(record(data)) in (True, False)
    assert is_lone_hello(record(b"\x01" + vector(data, 3))) in (True, False)


@given(_hellos, st.data())
def test_a_length_that_does_not_fit_is_noticed(hello: bytes, data: st.DataObject) -> None:
    """One byte is another: what is taken for a hello then still has the same length as that says."""
    at = data.draw(st.integers(0, len(hello) - 1))
    other = bytearray(hello)
    other[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != hello[at]))
    if at in (0, 1, 3, 4, 5, 6, 7, 8, 9):
        assert not is_lone_hello(bytes(other))
    else:
        assert is_lone_hello(bytes(other)) in (True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16\x03\x01\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        record(b"\x01" + vector(b"", 3)),
        record(b"\x02" + client_hello()[6:]),
        client_hello(ciphers=b""),
        client_hello(ciphers=b"\x13"),
        client_hello(compressions=b""),
        client_hello(session_id=bytes(33)),
        client_hello() * 2,
        record(client_hello()[5:] * 2),
        record(client_hello()[5:], kind=23),
        client_hello([(0, bytes(17000))]),
    ],
)
def test_what_is_none(data: bytes) -> None:
    assert not is_lone_hello(data)


def test_the_largest_record() -> None:
    room = (1 << 14) - len(client_hello([(0, b"")])) + 5
    assert is_lone_hello(client_hello([(0, bytes(room))]))
    assert not is_lone_hello(client_hello([(0, bytes(room + 1))]))
