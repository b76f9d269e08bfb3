"""What ``kubelb top`` shows: rates, order, what fits, and what a key does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from kubelb.cli.top_model import (
    ORDERS,
    WINDOW,
    Look,
    SessionLine,
    View,
    fit,
    keys,
    ordered,
    picture,
    pressed,
    remember,
    scrolled,
)
from kubelb.control.sessions import Session, Sessions
from kubelb.control.status import Clients, Pool, Server, Status

SERVER = Server(
    name="10.0.0.1:6443",
    address="10.0.0.1:6443",
    active=0,
    opened=0,
    bytes_up=0,
    bytes_down=0,
    dial_failures=0,
    resets=0,
    state="up",
    since=0.0,
    reason="",
    tier=0,
    backup=False,
    drained=False,
    failing=False,
    ramping=False,
    probe=None,
)
SESSION = Session(
    client="127.0.0.1:5000",
    listener="127.0.0.1:6443",
    pool="api",
    server="10.0.0.1:6443",
    address="10.0.0.1:6443",
    age=10.0,
    idle=0.0,
    bytes_up=0,
    bytes_down=0,
    worker=1,
    thread=0,
)


def a_look(at: float, *sessions: Session, accepted: int = 0, pid: int = 1, **server: object) -> Look:
    servers = (structs.replace(SERVER, **server),)
    status = Status(
        version="1",
        pid=pid,
        snapshot=1,
        clients=Clients(active=0, accepted=accepted),
        pools=(Pool(name="api", balance="least_conn", servers=servers),),
    )
    return Look(at, status, Sessions(sessions=sessions, unanswered=()))


def a_session(**settings: object) -> Session:
    return structs.replace(SESSION, **settings)


def test_one_look_knows_no_rates() -> None:
    (line,) = picture([a_look(5.0, opened=7)]).servers
    assert (line.opened, line.bytes_up, line.bytes_down) == (None, None, None)


def test_rates_are_over_the_time_between_the_first_look_and_the_last() -> None:
    looks = [
        a_look(5.0, opened=7, bytes_up=100, bytes_down=0),
        a_look(6.0, opened=8, bytes_up=100, bytes_down=0),
        a_look(7.0, opened=10, bytes_up=400, bytes_down=50),
    ]
    (line,) = picture(looks).servers
    assert (line.opened, line.bytes_up, line.bytes_down) == (1.5, 150.0, 25.0)


def test_what_was_counted_anew_has_no_rate() -> None:
    (line,) = picture([a_look(5.0, opened=7, bytes_up=3), a_look(6.0, opened=6, bytes_up=9)]).servers
    assert (line.opened, line.bytes_up) == (None, 6.0)


def test_a_server_that_has_just_come_has_no_rate() -> None:
    (line,) = picture([a_look(5.0), a_look(6.0, name="new", address="10.0.0.9:1")]).servers
    assert line.opened is None


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30))
def test_as_many_looks_are_kept_as_the_window_takes_and_two_at_least(pauses: list[float]) -> None:
    at, looks = 0.0, remember((), a_look(0.0))
    for pause in pauses:
        at += pause
        before, looks = looks, remember(looks, a_look(at))
        assert looks[-1].at == at
        assert looks[-2] == before[-1]
        assert all(at - look.at <= WINDOW for look in looks[:-2])


def test_looks_from_before_a_restart_are_dropped_and_those_from_before_an_upgrade_are_not() -> None:
    before = (a_look(1.0, accepted=10), a_look(2.0, accepted=12))
    assert len(remember(before, a_look(3.0, accepted=12, pid=2))) == 3
    assert remember(before, a_look(3.0, accepted=1, pid=2)) == (a_look(3.0, accepted=1, pid=2),)


@pytest.mark.parametrize(
    ("before", "now", "rate"),
    [
        (a_session(bytes_up=100, bytes_down=50), a_session(age=12.0, bytes_up=300, bytes_down=150), 150.0),
        (a_session(bytes_up=100), a_session(age=12.0, bytes_up=100), 0.0),
        (a_session(client="127.0.0.1:1", bytes_up=7), a_session(age=1.5, bytes_up=30), 20.0),
        (a_session(bytes_up=100), a_session(age=1.25, bytes_up=250), 200.0),
        (a_session(bytes_up=100), a_session(age=0.001, bytes_up=300), 300.0),
    ],
    ids=["moving", "silent", "new", "new, with the port of another", "this very moment"],
)
def test_the_rate_of_a_session(before: Session, now: Session, rate: float) -> None:
    (line,) = picture([a_look(5.0, before), a_look(7.0, now)]).sessions
    assert line == SessionLine(now, rate)


lines = st.lists(
    st.builds(
        SessionLine,
        session=st.builds(
            a_session,
            client=st.sampled_from(["10.0.0.1:1", "10.0.0.1:2", "[::1]:3"]),
            server=st.sampled_from(["a:1", "b:1"]),
            age=st.floats(0, 1e6),
            idle=st.floats(0, 1e6),
            bytes_up=st.integers(0, 1 << 50),
            bytes_down=st.integers(0, 1 << 50),
        ),
        rate=st.floats(0, 1e9),
    ),
    max_size=20,
)


@given(lines, st.sampled_from(list(ORDERS)))
def test_sorting_loses_nobody_and_reversed_is_the_opposite(lines: list[SessionLine], order: str) -> None:
    forth, back = ordered(lines, View(order=order)), ordered(lines, View(order=order, reverse=True))
    assert sorted(map(id, forth)) == sorted(map(id, lines))
    assert list(map(id, back)) == list(map(id, forth))[::-1]
    numbers = {id(line): number for number, line in enumerate(lines)}
    key = ORDERS[order]
    assert all((key(a), numbers[id(a)]) <= (key(b), numbers[id(b)]) for a, b in pairwise(forth))


@pytest.mark.parametrize(
    ("order", "first"), [("rate", 2), ("bytes", 1), ("age", 0), ("idle", 3), ("server", 1), ("client", 3)]
)
def test_what_stands_first(order: str, first: int) -> None:
    lines = [
        SessionLine(a_session(age=9.0, idle=1.0, bytes_up=5, client="c", server="c"), 1.0),
        SessionLine(a_session(age=8.0, idle=2.0, bytes_down=6, client="d", server="a"), 0.0),
        SessionLine(a_session(age=7.0, idle=0.0, bytes_up=3, bytes_down=2, client="b", server="b"), 2.0),
        SessionLine(a_session(age=6.0, idle=3.0, client="a", server="d"), 0.5),
    ]
    assert ordered(lines, View(order=order))[0] == lines[first]


@given(st.integers(0, 200), st.integers(0, 100))
def test_what_fits(height: int, servers: int) -> None:
    fits = fit(height, servers)
    assert fits.servers <= servers
    assert fits.sessions >= 0
    if height >= 10:
        assert fits.servers + fits.sessions + 7 == height
        assert fits.sessions >= fits.servers or servers == fits.servers == 1
        assert fits.servers == servers or fits.sessions - fits.servers <= 1


views = st.builds(View, order=st.sampled_from(list(ORDERS)), reverse=st.booleans(), first=st.integers(0, 50))
names = st.sampled_from(["up", "down", "j", "k", "page up", "page down", " ", "home", "end", "g", "G", "s", "r", "p"])


@given(views, st.lists(names | st.text(max_size=1), max_size=30), st.integers(0, 60), st.integers(0, 20))
def test_whatever_is_pressed_there_is_something_to_see(
    view: View, typed: list[str], sessions: int, room: int
) -> None:
    for key in typed:
        view = pressed(view, key, sessions, room)
        assert 0 <= view.first <= max(0, sessions - room)
        assert view.order in ORDERS


def test_the_keys() -> None:
    def after(*typed: str) -> View:
        view = View(first=5)
        for key in typed:
            view = pressed(view, key, sessions=30, room=10)
        return view

    assert [after(key).first for key in ("j", "down", "k", "up")] == [6, 6, 4, 4]
    assert [after(key).first for key in (" ", "page down", "page up", "G", "end", "g", "home")] == [
        *(15, 15, 0),
        *(20, 20, 0, 0),
    ]
    assert after("r", "s") == View(order="bytes")
    assert after("r") == View(reverse=True)
    assert after(*"ssssss") == View(order="rate")
    assert after("p") == View(first=5, paused=True)
    assert after("p", "p", "x", "unknown") == View(first=5)


def test_the_view_follows_sessions_that_leave() -> None:
    assert scrolled(View(first=20), sessions=22, room=10) == View(first=12)
    assert scrolled(View(first=20), sessions=3, room=10) == View()


def test_keys_and_their_sequences() -> None:
    typed = b"q\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1;5C \x1bs"
    assert keys(typed) == (
        ["q", "up", "down", "page up", "page down", "home", "end", "unknown", " ", "s"],
        b"",
    )


@given(st.lists(st.sampled_from([b"q", b"\x1b[A", b"\x1b[5~", b"\x1bOB", b"\xff"])), st.data())
def test_sequences_may_come_in_pieces(typed: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(typed)
    cut = data.draw(st.integers(0, len(whole)))
    first, rest = keys(whole[:cut])
    second, left = keys(rest + whole[cut:])
    assert first + second == keys(whole)[0]
    assert left == b""
