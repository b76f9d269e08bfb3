from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kubelb.discovery.message import BadMessage, Kind, Reply, Service, encode_name, question, read_reply
from kubelb.reasons import ValueFault

ASKED = question(0x1234, "api.Example.org", Kind.A)
POINTER = b"\xc0\x0c"
"""To the name in the question."""

labels = st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True).filter(lambda label: not label.startswith("xn--"))
names = st.lists(labels, min_size=1, max_size=8).map(".".join)
identities = st.integers(0, 0xFFFF)
ttls = st.integers(0, (1 << 31) - 1)


def a_record(owner: bytes, kind: int, value: bytes, ttl: int = 60, family: int = 1) -> bytes:
    return owner + struct.pack(">HHIH", kind, family, ttl, len(value)) + value


def a_reply(*records: bytes, asked: bytes = ASKED, flags: int = 0x8180) -> bytes:
    return asked[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + asked[12:] + b"".join(records)


def test_a_question_as_rfc_1035_has_it() -> None:
    wire = "abcd 0100 0001 0000 0000 0000 01 61 02 6263 00 001c 0001"
    assert question(0xABCD, "a.bc.", Kind.AAAA) == bytes.fromhex(wire)


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, ".".join(["x" * 60] * 5), "a\udcff"])
def test_what_is_no_host_name(name: str) -> None:
    with pytest.raises(ValueFault, match="is not a host name"):
        encode_name(name)


@given(identities, names, st.lists(st.tuples(st.ip_addresses(v=4), ttls), unique_by=lambda one: one[0], max_size=30))
def test_addresses_and_for_how_long(identity: int, name: str, found: list[tuple[IPv4Address, int]]) -> None:
    asked = question(identity, name, Kind.A)
    message = a_reply(*(a_record(POINTER, 1, host.packed, ttl) for host, ttl in found), asked=asked)
    hosts = tuple(str(host) for host, _ in found)
    assert read_reply(message, asked) == Reply(0, False, hosts, min((ttl for _, ttl in found), default=0))


@given(st.lists(st.ip_addresses(v=6), unique=True, max_size=9))
def test_ipv6_addresses(found: list[IPv6Address]) -> None:
    asked = question(1, "a", Kind.AAAA)
    reply = read_reply(a_reply(*(a_record(POINTER, 28, host.packed) for host in found), asked=asked), asked)
    assert reply is not None
    assert reply.addresses == tuple(map(str, found))


def test_case_does_not_count() -> None:
    message = a_reply(a_record(encode_name("API.example.ORG"), 1, b"\x0a\0\0\1"))
    assert read_reply(message.replace(b"Example", b"eXAMPLE"), ASKED) == Reply(0, False, ("10.0.0.1",), 60)


def test_aliases_are_followed_and_the_shortest_time_counts() -> None:
    aliases = [a_record(POINTER, 5, encode_name("b"), 9), a_record(encode_name("B"), 5, encode_name("c.d"), 7)]
    hosts = [a_record(encode_name("c.d"), 1, b"\x0a\0\0\1"), a_record(encode_name("other"), 1, b"\x0a\0\0\2", 1)]
    assert read_reply(a_reply(*hosts, *aliases), ASKED) == Reply(0, False, ("10.0.0.1",), 7)


def test_aliases_in_a_circle_have_no_address() -> None:
    aliases = [a_record(POINTER, 5, encode_name("b")), a_record(encode_name("b"), 5, POINTER)]
    assert read_reply(a_reply(*aliases), ASKED) == Reply(0, False, (), 60)


def test_a_dot_within_a_label_is_no_end_of_one() -> None:
    odd = b"\x0bapi.Example\x03org\x00"
    assert read_reply(a_reply(a_record(odd, 1, b"\x0a\0\0\1")), ASKED) == Reply(0, False, (), 0)


def test_what_else_is_there_is_passed_over() -> None:
    records = [a_record(POINTER, 16, b"\x01x"), a_record(POINTER, 1, b"\x0a\0\0\1", family=3)]
    assert read_reply(a_reply(*records, a_record(POINTER, 1, b"\x0a\0\0\2", ttl=1 << 31)), ASKED) == Reply(
        0, False, ("10.0.0.2",), 0
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        ASKED,
        b"\0" + a_reply()[1:],
        a_reply(flags=0x8980),
        a_reply(asked=question(0x1234, "api.example.com", Kind.A)),
        a_reply(asked=question(0x1234, "api.Example.org", Kind.AAAA)),
        a_reply()[:4] + b"\0\2" + a_reply()[6:],
        a_reply()[:12],
    ],
)
def test_no_answer_to_the_question(message: bytes) -> None:
    assert read_reply(message, ASKED) is None


def test_codes_and_truncation() -> None:
    assert read_reply(a_reply(flags=0x8183), ASKED) == Reply(3, False, (), 0)
    assert read_reply(a_reply(flags=0x8380), ASKED) == Reply(0, True, (), 0)
    refused = ASKED[:2] + struct.pack(">HHHHH", 0x8185, 0, 0, 0, 0)
    assert read_reply(refused, ASKED) == Reply(5, False, (), 0)


AT = len(a_reply())
"""Of the first record."""


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (b"", "ends within a name"),
        (b"\xc0", "ends within a name"),
        (b"\x05abc", "a name without an end"),
        (b"\x41a\0", "a label of an unknown kind"),
        (struct.pack(">H", 0xC000 | AT), "does not lead back"),
        (struct.pack(">H", 0xFFFF), "does not lead back"),
        (b"\x01a" + struct.pack(">H", 0xC000 | AT), "does not lead back"),
        (b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 4 + b"\0", "a name without an end"),
        (POINTER + b"\0\1\0\1", "ends within a record"),
        (a_record(POINTER, 1, b"\x0a\0\0\1")[:-1], "ends within a record"),
        (a_record(POINTER, 1, b"\x0a\0\0"), "of the wrong length"),
        (a_record(POINTER, 5, b"\x01a\0\0"), "not as long as its record"),
    ],
)
def test_what_makes_no_sense(record: bytes, what: str) -> None:
    message = ASKED[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + ASKED[12:] + record
    with pytest.raises(BadMessage, match=what):
        read_reply(message, ASKED)


def test_pointers_to_pointers_come_to_an_end() -> None:
    """Each record's name is the last of thousands."""
    at = AT + 11
    chain = b"\0" + b"".join(struct.pack(">H", 0xC000 | max(at, at + 2 * i - 1)) for i in range(7000))
    last = struct.pack(">H", 0xC000 | (at + len(chain) - 2))
    with pytest.raises(BadMessage, match="does not lead back"):
        read_reply(a_reply(a_record(b"\0", 99, chain), a_record(last, 1, b"\x0a\0\0\1")), ASKED)


WHOLE = a_reply(
    a_record(POINTER, 5, encode_name("b.c")),
    a_record(b"\x01b\x01c\0", 1, b"\x0a\0\0\1"),
    a_record(b"\x01b\x01c\0", 1, b"\x0a\0\0\2"),
)


@given(st.integers(0, len(WHOLE) - 1))
def test_every_cutting_is_noticed(length: int) -> None:
    try:
        assert read_reply(WHOLE[:length], ASKED) is None
    except BadMessage:
        assert length >= len(ASKED)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8))
@example([(12, 0xC0)])
def test_a_damaged_answer_is_an_answer_none_or_bad(damage: list[tuple[int, int]]) -> None:
    message = bytearray(WHOLE)
    for at, byte in damage:
        message[at] = byte
    try:
        reply = read_reply(bytes(message), ASKED)
    except BadMessage:
        return
    assert reply is None or len(reply.addresses) <= 2


@given(st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_anything_behind_a_question(rest: bytes, count: int) -> None:
    assume(count)
    message = ASKED[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0) + ASKED[12:] + rest
    try:
        reply = read_reply(message, ASKED)
    except BadMessage:
        return
    assert reply is not None


SERVICES_ASKED = question(0x1234, "_https._tcp.example.org", Kind.SRV)
EXAMPLE_ORG = struct.pack(">H", 0xC000 | 12 + len(b"\x06_https\x04_tcp"))
"""A pointer into the name in that question."""

services = st.builds(
    Service, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(1, 0xFFFF), names.map(str.lower)
)


def a_service(priority: int, weight: int, port: int, host: bytes, ttl: int = 60) -> bytes:
    return a_record(POINTER, 33, struct.pack(">HHH", priority, weight, port) + host, ttl)


def services_of(*records: bytes) -> Reply | None:
    return read_reply(a_reply(*records, asked=SERVICES_ASKED), SERVICES_ASKED)


@given(st.lists(st.tuples(services, ttls), max_size=20))
def test_services_and_for_how_long(found: list[tuple[Service, int]]) -> None:
    records = [a_service(*service[:3], encode_name(service.host), ttl) for service, ttl in found]
    expected = Reply(0, False, (), min((ttl for _, ttl in found), default=0), tuple(service for service, _ in found))
    assert services_of(*records) == expected


def test_pointers_in_the_host_of_a_service() -> None:
    reply = services_of(a_service(1, 2, 3, b"\x01A" + EXAMPLE_ORG), a_service(4, 5, 6, EXAMPLE_ORG))
    assert reply is not None
    assert reply.services == (Service(1, 2, 3, "a.example.org"), Service(4, 5, 6, "example.org"))


def test_aliases_of_services() -> None:
    alias = a_record(POINTER, 5, encode_name("b"), 7)
    record = a_record(encode_name("b"), 33, b"\0\1\0\2\0\3" + encode_name("c"))
    assert services_of(alias, record) == Reply(0, False, (), 7, (Service(1, 2, 3, "c"),))


def test_services_that_there_are_not() -> None:
    assert services_of(a_service(1, 2, 3, b"\0"), a_service(1, 2, 0, b"\1a\0")) == Reply(0, False, (), 60)


HOST_AT = len(a_reply(asked=SERVICES_ASKED)) + len(a_service(0, 0, 0, b""))


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (a_record(POINTER, 33, b""), "ends within a name"),
        (a_record(POINTER, 33, b"\0\0\0\0\0") + b"\0\0", "not as long as its record"),
        (a_record(POINTER, 33, b"\0\0\0\0\0\1"), "ends within a name"),
        (a_service(1, 2, 3, b"\1a\0\0"), "not as long as its record"),
        (a_service(1, 2, 3, b"\5a\0"), "a name without an end"),
        (a_service(1, 2, 3, struct.pack(">H", 0xC000 | HOST_AT)), "does not lead back"),
        (a_service(1, 2, 3, b"\3a b\0"), "no host name"),
        (a_service(1, 2, 3, b"\3a.b\0"), "no host name"),
        (a_service(1, 2, 3, b"\3a\n\x1b\0"), "no host name"),
        (a_service(1, 2, 3, b"\2\xc3\xa4\0"), "no host name"),
    ],
)
def test_services_that_make_no_sense(record: bytes, what: str) -> None:
    with pytest.raises(BadMessage, match=what):
        services_of(record)


SERVICES = a_reply(
    a_record(POINTER, 5, encode_name("b.c")),
    a_record(b"\x01b\x01c\0", 33, b"\0\1\0\2\0\3\1a" + EXAMPLE_ORG),
    asked=SERVICES_ASKED,
)


@given(st.lists(st.tuples(st.integers(0, len(SERVICES) - 1), st.integers(0, 255)), max_size=8))
def test_a_damaged_answer_of_services_is_an_answer_none_or_bad(damage: list[tuple[int, int]]) -> None:
    message = bytearray(SERVICES)
    for at, byte in damage:
        message[at] = byte
    try:
        reply = read_reply(bytes(message), SERVICES_ASKED)
    except BadMessage:
        return
    assert reply is None or len(reply.services) <= 1
    for service in reply.services if reply else ():
        assert service.port
        assert question(1, service.host, Kind.A)


@given(st.binary(max_size=300), st.integers(1, 0xFFFF))
def test_anything_behind_a_question_of_services(rest: bytes, count: int) -> None:
    head = SERVICES_ASKED[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0) + SERVICES_ASKED[12:]
    try:
        reply = read_reply(head + rest, SERVICES_ASKED)
    except BadMessage:
        return
    assert reply is not None
