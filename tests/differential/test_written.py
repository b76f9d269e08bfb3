"""The cases that matter most, and those that chance would not bring about, before both proxies."""

from __future__ import annotations

import pytest

from tests.differential.conftest import Compare
from tests.differential.generate import ALWAYS
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
    Resume,
    Say,
    Stall,
    Welcome,
)
from tests.differential.sides import Batch

_HALF_CLOSE = "proxy_half_close on"
_ALL = tuple(Member(number) for number in range(4))
_STAY, _GREET, _REFUSE, _MUTE = Welcome.STAY, Welcome.GREET, Welcome.REFUSE, Welcome.MUTE
_CLIENT, _SERVER = By.CLIENT, By.SERVER

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
    "random": Case(_ALL, (Connect(),) * 60, "random", welcomes=(_STAY, _STAY, _REFUSE, _STAY)),
    "random of two": Case((Member(0), Member(1), Member(2, ("down",))), (Connect(),) * 40, "random two"),
}
_BY_CHANCE = ("random", "random of two")
"""What they have in common is who is ever picked."""


@pytest.fixture(scope="module")
def seen(compare: Compare) -> dict[str, tuple[Observation, Observation]]:
    """By name: what was seen of nginx and of kubelb."""
    return dict(zip(CASES, compare(Batch(tuple(CASES.values()), (*ALWAYS, _HALF_CLOSE))), strict=True))


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
