"""PROXY protocol headers for tests, good and broken; the corpus of them; and the second version's encoder."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from hypothesis import strategies as st

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
Address = IPv4Address | IPv6Address
STREAM, INET, INET6, UNIX = 1, 1, 2, 3

_CORPUS = Path(__file__).parent.parent / "corpus" / "proxyproto"
VALID = sorted((_CORPUS / "valid").glob("*.bin"))
"""Beside each lies ``NAME.txt``: the addresses and ports it tells, client first, or nothing; and its bytes."""
INVALID = sorted((_CORPUS / "invalid").glob("*.bin"))
"""Beside each lies ``NAME.txt``: what is wrong with it."""


def v2(
    body: bytes,
    *,
    version: int = 2,
    command: int = 1,
    family: int = INET,
    transport: int = STREAM,
    length: int | None = None,
) -> bytes:
    """A header; ``length`` is what it says of the body where that is not true."""
    said = len(body) if length is None else length
    return SIGNATURE + bytes([version << 4 | command, family << 4 | transport]) + said.to_bytes(2, "big") + body


def v2_tcp(
    source: IPv4Address | IPv6Address,
    destination: IPv4Address | IPv6Address,
    ports: tuple[int, int],
    tlvs: bytes = b"",
) -> bytes:
    """A header for two addresses of one version."""
    body = source.packed + destination.packed + b"".join(port.to_bytes(2, "big") for port in ports)
    return v2(body + tlvs, family=INET if source.version == 4 else INET6)


_ipv4: st.SearchStrategy[Address] = st.ip_addresses(v=4)
_ipv6: st.SearchStrategy[Address] = st.ip_addresses(v=6)
pairs = st.tuples(_ipv4, _ipv4) | st.tuples(_ipv6, _ipv6)
"""Two addresses of one version."""
_hosts = st.one_of(
    st.ip_addresses(),
    st.text("0123456789abcdefABCDEF:.", max_size=40),
    st.sampled_from(["::", "::1", "::ffff:1.2.3.4", "255.255.255.255", "127.0.0.1", "1..2.3", "::abcd"]),
).map(str)
"""What may stand where the first version has an address."""
_ports = st.integers(0, 65535)


def _v1(kind: str, hosts: tuple[str, str], ports: tuple[int, int]) -> bytes:
    return f"PROXY {kind} {hosts[0]} {hosts[1]} {ports[0]} {ports[1]}\r\n".encode()


good = st.one_of(
    st.builds(_v1, st.sampled_from(["TCP4", "TCP6"]), st.tuples(_hosts, _hosts), st.tuples(_ports, _ports)).filter(
        lambda header: len(header) <= 107
    ),
    st.binary(max_size=92).map(lambda text: b"PROXY UNKNOWN" + text.replace(b"\r\n", b"") + b"\r\n"),
    *(
        st.builds(v2_tcp, hosts, hosts, st.tuples(_ports, _ports), st.binary(max_size=spare))
        for hosts, spare in ((_ipv4, 79), (_ipv6, 55))
    ),
    st.builds(v2, st.binary(max_size=91), command=st.integers(0, 15).filter(lambda command: command != 1)),
    st.builds(v2, st.binary(max_size=91), transport=st.integers(0, 15).filter(lambda transport: transport != 1)),
    st.builds(v2, st.binary(max_size=91), family=st.integers(0, 15).filter(lambda family: family not in (1, 2))),
)
"""Headers that nginx takes."""


def _damage(header: bytes, place: int, cut: int, put: bytes) -> bytes:
    place %= len(header) + 1
    return header[:place] + put + header[place + cut :]


_pieces = st.one_of(
    st.binary(max_size=3),
    st.sampled_from(
        [b" ", b"\r", b"\n", b"\r\n", b"\0", b"65536", b"-1", b"0" * 60, b"PROXY ", b"x" * 120, SIGNATURE]
    ),
)
damaged = st.builds(_damage, good, st.integers(0, 200), st.integers(0, 3), _pieces)
"""Headers with one spot changed: most are broken."""
any_start = st.one_of(
    good,
    damaged,
    st.builds(_damage, damaged, st.integers(0, 200), st.integers(0, 200), st.just(b"")),
    st.binary(max_size=130),
    st.builds(
        v2,
        st.binary(max_size=100),
        version=st.integers(0, 15),
        command=st.integers(0, 15),
        family=st.integers(0, 15),
        transport=st.integers(0, 15),
        length=st.none() | st.integers(0, 65535),
    ),
)
"""What a client may begin with."""
