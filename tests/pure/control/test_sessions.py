"""Which sessions there are: the question, the parts of the answers, what is missing. Its JSON is a promise, so it is
written out here."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.control.commands import CommandFault, chosen
from kubelb.control.sessions import EVERYBODYS, Gathering, Inquiry, answer, inquiry, query
from kubelb.reasons import ValueFault
from kubelb.wire.messages import SessionList, SessionSeen
from tests.pure.control.test_commands import ALL


def seen(port: int, slot: int = 1, opened_at: float = 100.0) -> SessionSeen:
    return SessionSeen(
        slot=slot,
        client=("10.1.0.1", port),
        listener="127.0.0.1:6443",
        opened_at=opened_at,
        moved_at=opened_at + 5,
        bytes_up=port,
        bytes_down=2 * port,
    )


def parts(row: int, ports: list[list[int]]) -> list[SessionList]:
    last = len(ports) - 1
    return [
        SessionList(number=1, row=row, part=part, sessions=tuple(map(seen, some)), last=part == last)
        for part, some in enumerate(ports)
    ]


@st.composite
def told(draw: st.DrawFn) -> list[list[SessionList]]:
    """What a few relay threads say, each port once."""
    shapes = draw(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=4))
    ports = iter(range(1000))
    return [parts(row, [[next(ports) for _ in range(size)] for size in shape]) for row, shape in enumerate(shapes)]


def shuffled(answers: list[list[SessionList]], seed: int) -> list[SessionList]:
    """In any order that keeps that of each relay thread."""
    left = [list(parts) for parts in answers if parts]
    rng = random.Random(seed)
    mixed = []
    while left:
        one = rng.choice(left)
        mixed.append(one.pop(0))
        left = [parts for parts in left if parts]
    return mixed


def ports_of(gathered: Gathering) -> set[tuple[int, int]]:
    return {(row, session.client[1]) for row, session in gathered.seen()}


@given(told(), st.integers())
def test_it_is_complete_once_all_have_said_all(answers: list[list[SessionList]], seed: int) -> None:
    gathered = Gathering(range(len(answers)))
    for part in shuffled(answers, seed):
        assert gathered.missing
        gathered.add(part)
    assert not gathered.missing
    assert ports_of(gathered) == {(p.row, s.client[1]) for parts in answers for p in parts for s in p.sessions}


@given(told(), st.integers(), st.data())
def test_a_part_that_is_lost_is_missed(answers: list[list[SessionList]], seed: int, data: st.DataObject) -> None:
    loser = data.draw(st.integers(0, len(answers) - 1))
    del answers[loser][data.draw(st.integers(0, len(answers[loser]) - 1))]
    gathered = Gathering(range(len(answers)))
    for part in shuffled(answers, seed):
        gathered.add(part)
    assert gathered.missing == {loser}


@given(told(), st.integers(0, 9))
def test_who_says_nothing_is_missing(answers: list[list[SessionList]], silent: int) -> None:
    gathered = Gathering(range(len(answers) + silent))
    for part in shuffled(answers, 0):
        gathered.add(part)
    assert gathered.missing == set(range(len(answers), len(answers) + silent))


def test_nothing_counts_twice_and_strangers_do_not_count() -> None:
    gathered = Gathering([7])
    for part in (*parts(7, [[1, 2]]), *parts(7, [[1, 2]]), *parts(8, [[3]])):
        gathered.add(part)
    assert ports_of(gathered) == {(7, 1), (7, 2)}


def test_the_document() -> None:
    gathered = Gathering([0, 1, 2, 3])
    young, old, strange = seen(1, slot=3, opened_at=200.0), seen(2, slot=5, opened_at=150.0), seen(3, slot=99)
    gathered.add(SessionList(number=1, row=1, part=0, sessions=(young, strange), last=True))
    gathered.add(SessionList(number=1, row=2, part=0, sessions=(old,), last=False))
    answered = answer(gathered, ALL, workers={0: 44, 1: 33, 2: 33, 3: 44}, now=210.25)
    assert msgspec.json.decode(msgspec.json.encode(answered)) == {
        "sessions": [
            {
                "client": "10.1.0.1:2",
                "listener": "127.0.0.1:6443",
                "pool": "etcd",
                "server": "[FD00::5]:6443",
                "address": "[fd00::5]:6443",
                "age": 60.25,
                "idle": 55.25,
                "bytes_up": 2,
                "bytes_down": 4,
                "worker": 33,
                "thread": 2,
            },
            {
                "client": "10.1.0.1:1",
                "listener": "127.0.0.1:6443",
                "pool": "api",
                "server": "two.example:6443",
                "address": "[fd00::2]:6443",
                "age": 10.25,
                "idle": 5.25,
                "bytes_up": 1,
                "bytes_down": 2,
                "worker": 33,
                "thread": 1,
            },
        ],
        "unanswered": [33, 44],
    }


def test_no_time_is_negative() -> None:
    gathered = Gathering([0])
    gathered.add(SessionList(number=1, row=0, part=0, sessions=(seen(1, opened_at=100.0),), last=True))
    (session,) = answer(gathered, ALL, workers={0: 1}, now=99.0).sessions
    assert (session.age, session.idle) == (0.0, 0.0)


texts = st.none() | st.text(st.characters(blacklist_categories=["Cs"]))


@given(st.builds(Inquiry, server=texts, pool=texts))
def test_a_question_is_read_as_it_was_written(asked: Inquiry) -> None:
    assert inquiry(query(asked)) == asked


def test_nothing_asked_for_is_everybodys() -> None:
    assert inquiry("") == EVERYBODYS
    assert chosen(ALL, None, None) == {1, 2, 3, 4, 5}
    assert chosen(ALL, None, "etcd") == {4, 5}
    with pytest.raises(CommandFault, match=r'^no pool "none"; there are: api, etcd$'):
        chosen(ALL, None, "none")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("servr=10.0.0.1:6443", "^servr: unknown key$"),
        ("server=a&server=b", "the same is asked for twice"),
    ],
)
def test_what_is_no_question(text: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=fault):
        inquiry(text)
