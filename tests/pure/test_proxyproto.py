"""PROXY protocol headers, however they arrive and whatever is in them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.proxyproto import MOST, Endpoint, Header, HeaderFault, decode, encode
from tests.support.proxy_headers import INVALID, VALID, Address, any_start, good, pairs, v2_tcp

ports = st.integers(0, 65535)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid(path: Path) -> None:
    data = path.read_bytes()
    header = decode(data)
    assert header is not None
    told = " ".join(f"{host} {port}" for host, port in filter(None, (header.source, header.destination)))
    assert path.with_suffix(".txt").read_text() == f"{told}\n{header.length} of {len(data)} bytes\n"


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid(path: Path) -> None:
    with pytest.raises(HeaderFault) as raised:
        decode(path.read_bytes())
    assert str(raised.value).startswith(path.with_suffix(".txt").read_text().rstrip("\n"))
    assert str(raised.value).isprintable()


@given(good, st.binary(max_size=20))
def test_a_header_is_whole_once_its_last_byte_is_there(header: bytes, rest: bytes) -> None:
    assert len(header) <= MOST
    for cut in range(len(header)):
        assert decode(header[:cut]) is None
    whole = decode(header)
    assert whole is not None
    assert whole.length == len(header)
    assert decode(header + rest) == whole


@given(any_start, st.lists(st.integers(1, 130)), st.binary(max_size=200))
@example(b"\r", [], b"")
@example(b"PROXY UNKNOWN\r", [], b"")
def test_what_is_decided_stays_so(data: bytes, cuts: list[int], rest: bytes) -> None:
    """And until it is, there is little to keep."""
    verdict = _verdict(data)
    for cut in sorted(cuts):
        assert _verdict(data[:cut]) in (None, verdict) or cut >= len(data)
    if verdict is None:
        assert len(data) < MOST
    else:
        assert _verdict(data + rest) == verdict


def _verdict(data: bytes) -> Header | bool | None:
    """Nothing is ever raised but the fault, which counts as False."""
    try:
        return decode(data)
    except HeaderFault:
        return False


@pytest.mark.parametrize(
    "data",
    [
        b"\x16",
        b"G",
        b"PROXY X",
        b"PROXY TCP4 a.b.c.d 1.1.1.1 1 g",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        b"\r\n\r\r",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\xff\xff",
    ],
)
def test_what_is_hopeless_is_not_waited_for(data: bytes) -> None:
    with pytest.raises(HeaderFault):
        decode(data)
    assert decode(data[:-1]) is None


@given(pairs, ports, ports)
def test_what_is_written_reads_back(hosts: tuple[Address, Address], source: int, destination: int) -> None:
    written = encode((str(hosts[0]), source), (str(hosts[1]), destination))
    header = decode(written)
    assert header is not None
    assert header.length == len(written)
    assert header.source is not None
    assert header.destination is not None
    assert (ip_address(header.source[0]), header.source[1]) == (hosts[0], source)
    assert (ip_address(header.destination[0]), header.destination[1]) == (hosts[1], destination)


@given(pairs, ports, ports)
def test_both_versions_tell_the_same(hosts: tuple[Address, Address], source: int, destination: int) -> None:
    second = decode(v2_tcp(*hosts, (source, destination)))
    first = decode(encode((str(hosts[0]), source), (str(hosts[1]), destination)))
    assert first is not None
    assert second is not None
    assert first[1:] == second[1:]


@pytest.mark.parametrize(
    ("source", "destination", "written"),
    [
        (("127.0.0.1", 5), ("127.0.0.2", 6443), b"PROXY TCP4 127.0.0.1 127.0.0.2 5 6443\r\n"),
        (("fe80::1%eth0", 5), ("fe80::2%eth0", 6443), b"PROXY TCP6 fe80::1 fe80::2 5 6443\r\n"),
        (("::ffff:127.0.0.1", 5), ("::1", 6443), b"PROXY TCP6 ::ffff:127.0.0.1 ::1 5 6443\r\n"),
        (("2001:db8::7", 5), ("127.0.0.1", 6443), b"PROXY TCP6 2001:db8::7 127.0.0.1 5 6443\r\n"),
        (("::255.255.255.255", 5), ("255.255.255.255", 1), b"PROXY TCP6 ::255.255.255.255 255.255.255.255 5 1\r\n"),
        (("unix:", 0), ("unix:/run/a.sock", 0), b"PROXY UNKNOWN\r\n"),
        (("10.0.0.1", 5), ("unix:/run/a.sock", 0), b"PROXY TCP4 10.0.0.1 unix:/run/a.sock 5 0\r\n"),
    ],
)
def test_written(source: Endpoint, destination: Endpoint, written: bytes) -> None:
    assert encode(source, destination) == written
