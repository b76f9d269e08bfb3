"""The cases that matter most, and those that chance would not bring about, before both proxies."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from tests.differential.configuration import Batch
from tests.differential.conftest import Compare
from tests.differential.observe import Observation, expected
from tests.differential.scripts import (
    AwaitEnd,
    Break,
    By,
    Case,
    Change,
    Connect,
    Finish,
    Leave,
    Member,
    Pass,
    Resume,
    Say,
    Stall,
    Welcome,
)
from tests.support.proxy_headers import UNIX, v2, v2_tcp

_HALF_CLOSE = "proxy_half_close on"
_ALL = tuple(Member(number) for number in range(4))
_ONE = (Member(0),)
_STAY, _GREET, _REFUSE, _MUTE = Welcome.STAY, Welcome.GREET, Welcome.REFUSE, Welcome.MUTE
_CLIENT, _SERVER = By.CLIENT, By.SERVER
_HEADERS = (
    *(b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN what ever\r\n", b"PROXY TCP6 ::1 fe80::1 7 65535\r\n"),
    *(b"PROXY TCP4 10.1.2.3 10.4.5.6 0 0\r\n", b"PROXY TCP4 10.1.2.3 10.4.5.6 7\r\n", b"PROXY TCP5 a b 1 2\r\n"),
    *(b"PROXY TCP4 10.1.2.3  10.4.5.6 7 8\r\n", b"PROXY" + b" " * 120, b"\0" * 30, b"\x16\x03\x01\x00\xa5\x01"),
    v2_tcp(IPv4Address("10.1.2.3"), IPv4Address("10.4.5.6"), (7, 8), tlvs=b"\x04\x00\x03abc"),
    v2_tcp(IPv6Address("fd00::1"), IPv6Address("::1"), (7, 8), tlvs=b"\x04\xff\xff"),
    *(v2(b"", command=0), v2(b"\x01\x00\x01x", command=0), v2(b"", family=0), v2(bytes(216), family=UNIX)),
    *(v2(bytes(5)), v2(bytes(12), version=3), v2(bytes(12), command=7), v2(bytes(12), transport=2)),
)
"""Good and broken."""

CASES = {
    "one after the other": Case(_ALL, (Connect(),) * 9),
    "weights": Case((Member(0, ("weight=5",)), Member(1), Member(2, ("weight=2",))), (Connect(),) * 16),
    "those who leave make room": Case(
        (Member(0, ("max_conns=1",)), Member(1, ("max_conns=2",))),
        (
            *(Connect(),) * 4,
            Finish(0, _CLIENT),
            Finish(0, _SERVER),
            Connect(),
            Break(2, _CLIENT),
            Connect(),
            Connect(),
        ),
    ),
    "the fewest sessions": Case(
        _ALL, (*(Connect(),) * 6, Break(1, _SERVER), Break(2, _CLIENT), *(Connect(),) * 3), "least_conn"
    ),
    "one refuses": Case(_ALL, (Connect(),) * 9, welcomes=(_STAY, _REFUSE, _STAY, _STAY)),
    "one refuses, and the client resets": Case(_ALL, (Connect(), Break(0, _CLIENT)), welcomes=(_REFUSE, _STAY)),
    "one refuses for a while": Case(
        tuple(Member(number, ("max_fails=2",)) for number in range(3)),
        (
            Change(1, _REFUSE),
            *(Connect(),) * 5,
            Change(1, _STAY),
            *(Connect(),) * 5,
            Change(1, _REFUSE),
            *(Connect(),) * 9,
        ),
    ),
    "all refuse": Case(
        tuple(Member(number, ("max_fails=0",)) for number in range(3)),
        (Connect(), Connect(words=b"hello"), Change(2, _STAY), Connect(), Connect()),
        welcomes=(_REFUSE,) * 4,
    ),
    "backups": Case(
        (Member(0, ("max_fails=0",)), Member(1, ("backup",)), Member(2, ("backup", "weight=2"))),
        (Connect(), Change(0, _REFUSE), *(Connect(),) * 4, Change(0, _STAY), Connect()),
    ),
    "those that are down": Case((Member(0, ("down",)), Member(1), Member(2, ("down",))), (Connect(),) * 3),
    "by address": Case(_ALL, tuple(Connect(source=f"127.1.2.{last}") for last in range(1, 20)), "hash $remote_addr"),
    "by address, consistently": Case(
        _ALL, tuple(Connect(source=f"127.1.2.{last}") for last in range(1, 20)), "hash $remote_addr consistent"
    ),
    "one who does not answer": Case(
        (Member(0), Member(1)),
        (Connect(), Connect()),
        directives=("proxy_connect_timeout 500ms",),
        welcomes=(_MUTE, _STAY, _STAY, _STAY),
    ),
    "nobody answers": Case(
        (Member(0), Member(1)),
        (Connect(words=b"hello"),),
        directives=("proxy_connect_timeout 500ms",),
        welcomes=(_MUTE, _MUTE, _STAY, _STAY),
    ),
    "nobody says anything": Case(
        (Member(0),),
        (Connect(), AwaitEnd(0)),
        directives=("proxy_timeout 500ms",),
    ),
    "nobody says anything any more": Case(
        (Member(0),),
        (Connect(words=b"hello"), Say(0, _SERVER, 1000), AwaitEnd(0)),
        directives=("proxy_timeout 1s",),
        welcomes=(_GREET,) * 4,
    ),
    "an end and an answer": Case(
        (Member(0),), (Connect(words=b"?"), Finish(0, _CLIENT), Say(0, _SERVER, 70000), Finish(0, _SERVER))
    ),
    "an answer, an end and more questions": Case(
        (Member(0),), (Connect(), Say(0, _CLIENT, 70000), Finish(0, _CLIENT)), welcomes=(Welcome.FINISH,) * 4
    ),
    "much, and nobody reads": Case(
        (Member(0),),
        (
            Connect(slow=True),
            *(Stall(0, by) for by in By),
            *(Say(0, by, 3_000_000) for by in By),
            *(Resume(0, by) for by in By),
        ),
    ),
    "much, both ways at once": Case(
        (Member(0),), (Connect(), Stall(0, _CLIENT), Say(0, _SERVER, 5_000_000), Say(0, _CLIENT, 5_000_000))
    ),
    "an end behind what nobody reads": Case(
        (Member(0),),
        (Connect(), Stall(0, _CLIENT), Say(0, _SERVER, 3_000_000), Finish(0, _SERVER), Resume(0, _CLIENT)),
    ),
    "gone with something unread": Case(
        (Member(0),), (Connect(), Stall(0, _CLIENT), Say(0, _SERVER, 1000), Leave(0, _CLIENT))
    ),
    "told after it had gone": Case((Member(0),), (Connect(), Leave(0, _CLIENT), Say(0, _SERVER, 1))),
    "resets": Case((Member(0),), (*(Connect(),) * 3, Break(1, _CLIENT), Break(0, _SERVER), Say(2, _CLIENT, 9))),
    "a server that resets": Case(_ALL, (Connect(),) * 5, welcomes=(Welcome.BREAK, _STAY, Welcome.LEAVE, _GREET)),
    "several addresses": Case(
        _ALL,
        (Connect(0), Connect(1), Connect(2, "127.9.9.9"), Connect(1)),
        "hash $server_addr",
        listens=("127.0.0.1", "::1", "127.0.0.8"),
    ),
    "an end is the end": Case(
        (Member(0),),
        (Connect(words=b"?"), Finish(0, _CLIENT), Connect(), Finish(1, _SERVER), Connect()),
        directives=("proxy_half_close off",),
    ),
    "so many of each address": Case(
        (Member(0),),
        (*(Connect(),) * 3, Connect(source="127.0.0.2"), Finish(0, _CLIENT), Finish(0, _SERVER), *(Connect(),) * 2),
        directives=("limit_conn each 2",),
    ),
    "who may come in": Case(
        (Member(0),),
        (Connect(), Connect(source="127.0.0.9"), Connect(source="127.7.1.1")),
        directives=("deny 127.0.0.9", "allow 127.0.0.0/16", "deny all"),
    ),
    "headers that are believed": Case(
        _ALL,
        tuple(Connect(header=f"PROXY TCP4 10.0.0.{last} 10.9.9.9 1 2\r\n".encode()) for last in range(1, 9)),
        "hash $remote_addr",
        ("set_real_ip_from 127.0.0.1", "deny 10.0.0.7"),
        ("127.0.0.1 proxy_protocol",),
    ),
    "headers of every kind": Case(
        _ALL,
        tuple(Connect(at, header=header, words=b"?") for at in (0, 1, 2) for header in _HEADERS),
        "hash $proxy_protocol_addr$proxy_protocol_port",
        ("set_real_ip_from 127.0.0.0/8", "set_real_ip_from unix:", "proxy_protocol on"),
        ("127.0.0.1 proxy_protocol", "::1 proxy_protocol", "unix: proxy_protocol"),
    ),
    "who it is not": Case(
        _ONE, (Connect(), Connect(1), Connect(2)), "", ("proxy_protocol on",), ("127.0.0.1", "::1", "unix:")
    ),
    "a header that never comes": Case(
        _ONE,
        (Connect(), Pass(), Pass(broken=True), Connect(header=b"PROXY UNKNOWN\r\n")),
        directives=("proxy_protocol_timeout 500ms",),
        listens=("127.0.0.1 proxy_protocol",),
    ),
    "gone before anybody answers": Case(
        _ONE,
        (Pass(), Pass(words=b"hello"), Connect()),
        directives=("proxy_connect_timeout 500ms",),
        welcomes=(_MUTE,),
    ),
    "unix sockets": Case(
        (Member(4), Member(0)),
        (*(Connect(at) for at in (0, 1, 0, 1)), Finish(0, _CLIENT), Finish(1, _SERVER), Leave(2, _SERVER)),
        listens=("127.0.0.1", "unix:"),
        welcomes=(_STAY, _STAY, _STAY, _STAY, _GREET),
    ),
    "a unix socket that nobody accepts from": Case(
        (Member(4), Member(0)), (Connect(), Connect()), welcomes=(_STAY, _STAY, _STAY, _STAY, _MUTE)
    ),
    "a unix socket where nobody is": Case(
        (Member(4), Member(0)), (Connect(), Connect()), welcomes=(_STAY, _STAY, _STAY, _STAY, _REFUSE)
    ),
    "ports in a row": Case(
        _ALL, tuple(Connect(at) for at in range(5)), "hash $server_port", (), ("127.0.0.1/3", "::1/2")
    ),
    "a pool for each": Case(
        _ONE,
        tuple(Connect(source=f"127.1.2.{last}") for last in range(1, 12)),
        directives=("set $of@ <2>",),
        others=(Member(1),),
        around=(
            "split_clients $remote_addr $part@ { 40% other@; 30% <4>; * pool@; }",
            "map $remote_addr $to@ { 127.1.2.3 $of@; 127.1.2.4 nobody; default $part@; }",
        ),
        then="proxy_pass $to@",
    ),
    "an answer for each": Case(
        _ONE,
        (*(Connect(source=f"127.7.2.{last}") for last in range(1, 4)), Connect(1), Connect(2)),
        directives=("set $said@ $of@",),
        listens=("127.0.0.1", "::1", "unix:"),
        around=("geo $of@ { 127.7.2.2 two; 127.0.0.0/8 us; ::1 six; default none; }",),
        then="return 'You are $remote_addr:$remote_port, $said@ at $server_addr:$server_port.\\n'",
    ),
    "much of an answer": Case(_ONE, (Connect(), Connect(slow=True)), then=f"return '{'$remote_addr ' * 300}'"),
    "an address that is not ours": Case(
        _ONE,
        tuple(Connect(header=f"PROXY TCP4 {host} 10.9.9.9 1 2\r\n".encode()) for host in ("10.0.0.1", "127.8.8.8")),
        directives=("set_real_ip_from 127.0.0.1", "proxy_bind $remote_addr"),
        listens=("127.0.0.1 proxy_protocol",),
    ),
    "so many tries": Case(
        tuple(Member(number, ("max_fails=0",)) for number in range(3)),
        (*(Connect(),) * 3, Change(2, _REFUSE), Connect()),
        directives=("proxy_next_upstream_tries 2",),
        welcomes=(_REFUSE, _REFUSE),
    ),
    "no second try": Case(_ALL, (Connect(),) * 5, "", ("proxy_next_upstream off",), welcomes=(_REFUSE,)),
    "so many in a zone": Case(
        (Member(0, ("max_conns=1",)), Member(1, ("max_conns=1", "backup")), Member(2, ("down",))),
        (*(Connect(),) * 3, Break(0, _SERVER), Connect(), Finish(1, _CLIENT), Finish(1, _SERVER), *(Connect(),) * 2),
        "zone z@ 64k; least_conn",
    ),
    "no key": Case(_ALL, (Connect(),) * 6, "hash $proxy_protocol_addr"),
    "no key, consistently": Case(_ALL, (Connect(),) * 6, "hash $proxy_protocol_addr consistent"),
    "random": Case(_ALL, (Connect(),) * 60, "random", welcomes=(_STAY, _STAY, _REFUSE, _STAY)),
    "random of two": Case((Member(0), Member(1), Member(2, ("down",))), (Connect(),) * 40, "random two"),
}
_BY_CHANCE = ("random", "random of two")
"""What they have in common is who is ever picked."""


@pytest.fixture(scope="module")
def seen(compare: Compare) -> dict[str, tuple[Observation, Observation]]:
    """By name: what was seen of nginx and of kubelb."""
    return dict(zip(CASES, compare(Batch(tuple(CASES.values()), (_HALF_CLOSE,))), strict=True))


@pytest.mark.parametrize("name", [name for name in CASES if name not in _BY_CHANCE])
def test_the_same(name: str, seen: dict[str, tuple[Observation, Observation]]) -> None:
    theirs, ours = seen[name]
    assert ours == expected(theirs), CASES[name]


@pytest.mark.parametrize("name", _BY_CHANCE)
def test_the_same_servers_by_chance(name: str, seen: dict[str, tuple[Observation, Observation]]) -> None:
    theirs, ours = ({session.picked for session in observation} for observation in seen[name])
    assert ours == theirs


def test_those_left_out_are_tried_when_nobody_else_is_left(compare: Compare) -> None:
    """Where nginx turns clients away."""
    script = (Connect(), Change(0, _STAY), Connect())
    [(theirs, ours)] = compare(Batch((Case((Member(0), Member(1)), script, welcomes=(_REFUSE,) * 4),)))
    assert [session.picked for session in theirs] == [None, None]
    assert [session.picked for session in ours] == [None, 0]


def test_who_resets_before_anybody_answers_is_waited_for_no_more(compare: Compare) -> None:
    case = Case(_ONE, (Pass(broken=True),), directives=("proxy_connect_timeout 500ms",), welcomes=(_MUTE,))
    [(theirs, ours)] = compare(Batch((case,)))
    assert [session.log["status"] for session in (*theirs, *ours)] == ["502", "200"]
