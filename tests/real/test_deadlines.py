"""No deadline outlives its owner: whatever ends the one takes the other along, and none stands twice.

All deadlines are an hour away, so one that is gone was dropped.
"""

from __future__ import annotations

import ast
import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import kubelb
from kubelb.relay.session import End, LimitedFlow, Session
from kubelb.snapshot import SocketAddress
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER
from kubelb.wire.messages import AskSessions, Release, SessionList
from kubelb.worker import acceptor, answer, handover, listing
from kubelb.worker.acceptor import Acceptor
from kubelb.worker.answer import Answer
from kubelb.worker.cuts import _Order
from kubelb.worker.dial import Dial
from kubelb.worker.handover import Giver
from kubelb.worker.listing import Listing
from kubelb.worker.preface import Preface
from kubelb.worker.second_chance import SecondChances
from kubelb.worker.stalls import Stalls
from tests.support.deadlines import standing
from tests.support.eventually import eventually
from tests.support.holes import a_hole
from tests.support.identity import keep, leave, reset
from tests.support.lanes import LONG, RunningLane, a_lane, a_snapshot, with_listener, with_server
from tests.support.proxy import EchoServers, echoes

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(kubelb.__file__).parent
SHORT = 0.02
"""Seconds: as little as there has to be waited for, since something is."""
TEXT = "a long story " * 2_000_000
"""More than a client's connection takes before it is read."""

Ending = Callable[[], object]
Begun = tuple[RunningLane, Ending]
"""A lane on which one deadline stands, and what ends its owner."""
Case = Callable[[ExitStack, SocketAddress], Begun]

CASES: list[tuple[type, Case]] = []


def owned_by(owner: type) -> Callable[[Case], Case]:
    def note(case: Case) -> Case:
        CASES.append((owner, case))
        return case

    return note


@pytest.fixture(scope="module")
def echo() -> Iterator[SocketAddress]:
    with EchoServers() as servers:
        yield servers.addresses[0]


@pytest.fixture(autouse=True)
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be configured is as far away as the rest."""
    monkeypatch.setattr(answer, "_PATIENCE", LONG)
    monkeypatch.setattr(acceptor, "_PAUSE", LONG)
    monkeypatch.setattr(listing, "_PATIENCE", LONG)
    monkeypatch.setattr(handover, "_SHORTAGE", LONG)


@pytest.mark.parametrize(("owner", "case"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_it_goes_with_its_owner(owner: type, case: Case, echo: SocketAddress) -> None:
    with ExitStack() as stack:
        lane, end = case(stack, echo)
        eventually(lambda: list(map(type, lane.deadlines())) == [owner], "it stands, once")
        end()
        eventually(lambda: owner not in map(type, lane.deadlines()), "it has gone")


def test_every_owner_is_among_these() -> None:
    """Whoever sets a deadline, and what the relay thread itself looks after; passes over its sessions are its own."""
    setters = {
        definition.name
        for file in ROOT.rglob("*.py")
        for definition in ast.walk(ast.parse(file.read_text()))
        if isinstance(definition, ast.ClassDef) and "set_deadline" in called(definition)
    }
    tried = {owner.__name__ for owner, _ in CASES} | {LimitedFlow.__name__, Stalls.__name__, SecondChances.__name__}
    assert tried == setters | {"Session", "LimitedFlow"}


def called(definition: ast.ClassDef) -> set[str]:
    """The names of the methods that are called within."""
    calls = (node.func for node in ast.walk(definition) if isinstance(node, ast.Call))
    return {function.attr for function in calls if isinstance(function, ast.Attribute)}


def a_silent_client(stack: ExitStack, echo: SocketAddress) -> tuple[RunningLane, Any]:
    """One whose PROXY header is awaited."""
    picture = with_listener(a_snapshot([echo]), accept_proxy_protocol=True, proxy_protocol_timeout=LONG)
    lane = stack.enter_context(a_lane(picture))
    return lane, stack.enter_context(lane.connect())


@owned_by(Preface)
def a_header_comes(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_silent_client(stack, echo)
    return lane, lambda: client.sendall(b"PROXY UNKNOWN\r\n")


@owned_by(Preface)
def a_broken_header_comes(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_silent_client(stack, echo)
    return lane, lambda: client.sendall(b"GET / HTTP/1.1\r\n")


@owned_by(Preface)
def a_client_leaves_before_its_header(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_silent_client(stack, echo)
    return lane, lambda: leave(client)


@owned_by(Preface)
def a_client_breaks_off_before_its_header(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_silent_client(stack, echo)
    return lane, lambda: reset(client)


@owned_by(Dial)
def a_server_answers(stack: ExitStack, echo: SocketAddress) -> Begun:
    hole = stack.enter_context(a_hole())
    lane = stack.enter_context(a_lane(a_snapshot([hole.address])))
    stack.enter_context(lane.connect())
    return lane, lambda: stack.enter_context(hole.open())


@owned_by(Dial)
def the_only_server_refuses(stack: ExitStack, echo: SocketAddress) -> Begun:
    hole = stack.enter_context(a_hole())
    lane = stack.enter_context(a_lane(a_snapshot([hole.address])))
    stack.enter_context(lane.connect())
    return lane, hole.refuse


@owned_by(Dial)
def a_client_breaks_off_after_one_of_two_has_refused(stack: ExitStack, echo: SocketAddress) -> Begun:
    one, other = (stack.enter_context(a_hole()) for _ in range(2))
    lane = stack.enter_context(a_lane(a_snapshot([one.address, other.address], hedge_delay=SHORT)))
    client = lane.connect()
    eventually(lambda: lane.count(Count.ACTIVE) == [1, 1], "both are dialled")
    one.refuse()
    eventually(lambda: lane.count(Count.DIAL_FAILURES) == [1, 0], "it has refused")
    return lane, lambda: reset(client)


@owned_by(Dial)
def a_server_answers_while_another_is_silent(stack: ExitStack, echo: SocketAddress) -> Begun:
    one, other = (stack.enter_context(a_hole()) for _ in range(2))
    lane = stack.enter_context(a_lane(a_snapshot([one.address, other.address], hedge_delay=SHORT)))
    stack.enter_context(lane.connect())
    eventually(lambda: lane.count(Count.ACTIVE) == [1, 1], "both are dialled")
    return lane, lambda: stack.enter_context(one.open())


def an_answer_under_way(stack: ExitStack) -> tuple[RunningLane, Any]:
    """A client that has read a part of it, so that it has gone on."""
    lane = stack.enter_context(a_lane(with_listener(a_snapshot([]), pool=None, answer=TEXT)))
    client = stack.enter_context(lane.connect())

    def sent() -> int:
        return sum(one._sent for one in lane.deadlines() if isinstance(one, Answer))

    before = eventually(sent, "it is blocked")

    def has_gone_on() -> bool:
        client.recv(1 << 20)
        return sent() > before

    eventually(has_gone_on, "it goes on")
    return lane, client


@owned_by(Answer)
def an_answer_is_read(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = an_answer_under_way(stack)

    def read() -> None:
        while client.recv(1 << 20):
            pass

    return lane, read


@owned_by(Answer)
def a_client_breaks_off_within_an_answer(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = an_answer_under_way(stack)
    return lane, lambda: reset(client)


def a_session(stack: ExitStack, echo: SocketAddress, share: bool = True) -> tuple[RunningLane, Any]:
    """One that may not be idle for too long."""
    lane = stack.enter_context(a_lane(with_listener(a_snapshot([echo]), idle_timeout=LONG), share=share))
    client, _ = keep(lane.address)
    return lane, stack.enter_context(client)


@owned_by(Session)
def a_session_ends(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_session(stack, echo)
    return lane, lambda: leave(client)


@owned_by(Session)
def a_session_that_is_half_closed_ends(stack: ExitStack, echo: SocketAddress) -> Begun:
    """Its time is counted anew from then on, and is another one."""
    settings = {"idle_timeout": 10 * LONG, "half_close_timeout": LONG}
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    lane = stack.enter_context(a_lane(with_listener(a_snapshot([listener.getsockname()]), **settings)))
    client = stack.enter_context(lane.connect())
    server, _ = listener.accept()
    stack.enter_context(server)
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    return lane, server.close


@owned_by(Session)
def a_session_is_broken_off(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_session(stack, echo)
    return lane, lambda: reset(client)


@owned_by(Session)
def a_session_with_a_thread_of_its_own_ends(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_session(stack, echo, share=False)
    return lane, lambda: leave(client)


@owned_by(Session)
def a_session_is_cut(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, _ = a_session(stack, echo)
    return lane, lambda: lane.see(with_server(lane.lane._snapshot, 0, cut_at=time.monotonic()))


@owned_by(Session)
def a_session_is_released(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, _ = a_session(stack, echo)

    def release() -> None:
        order = Release(slot=1, counts=(1, 0), quiet=0.0)
        eventually(lambda: all(one.at_rest for one in lane.lane.thread.sessions()), "all is acknowledged")
        lane.run(lambda: lane.lane.release(order))

    return lane, release


@owned_by(Session)
def a_session_is_handed_over(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_session(stack, echo)
    return lane, lambda: hand_over(stack, lane, client)


@owned_by(Session)
def a_session_with_a_thread_of_its_own_is_handed_over(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, client = a_session(stack, echo, share=False)
    return lane, lambda: hand_over(stack, lane, client)


def hand_over(stack: ExitStack, giver: RunningLane, client: Any) -> None:
    """To another relay thread, which has it for as long as the test."""
    taker = stack.enter_context(a_lane(giver.lane._snapshot))
    stack.callback(leave, client)
    give(giver, taker)
    assert echoes(client)


def give(giver: RunningLane, taker: RunningLane) -> None:
    ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
    taker.run(lambda: taker.lane.receive(theirs))
    giver.run(lambda: giver.lane.hand_over([ours]))
    eventually(giver.is_quiet, "it is handed over")
    giver.run(lambda: giver.lane.thread.unwatch(ours.fileno()))
    ours.close()


@owned_by(_Order)
def an_order_is_withdrawn(stack: ExitStack, echo: SocketAddress) -> Begun:
    picture = a_snapshot([echo])
    lane = stack.enter_context(a_lane(picture))
    ordered = with_server(picture, 0, cut_at=time.monotonic() + LONG)
    for _ in range(3):
        lane.see(ordered)
    return lane, lambda: lane.see(picture)


@owned_by(_Order)
def an_order_is_carried_out(stack: ExitStack, echo: SocketAddress) -> Begun:
    """With the moment that another one has in its stead."""
    picture = a_snapshot([echo])
    lane = stack.enter_context(a_lane(picture))
    lane.see(with_server(picture, 0, cut_at=time.monotonic() + LONG))
    return lane, lambda: lane.see(with_server(picture, 0, cut_at=time.monotonic()))


@owned_by(_Order)
def an_order_that_has_got_one_more_is_withdrawn(stack: ExitStack, echo: SocketAddress) -> Begun:
    """A session that comes from elsewhere while those here wait for their moments."""
    picture = a_snapshot([echo], reset_spread=1e9)
    giver, lane = (stack.enter_context(a_lane(picture)) for _ in range(2))
    for at in (giver, lane):
        stack.callback(leave, keep(at.address)[0])
    lane.see(with_server(picture, 0, cut_at=time.monotonic()))
    give(giver, lane)
    assert lane.clients == 2
    return lane, lambda: lane.see(picture)


@owned_by(Acceptor)
def one_that_pauses_is_stopped(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane = stack.enter_context(a_lane(a_snapshot([echo])))
    for _ in range(2):
        lane.run(lambda: lane.lane._exhausted("too few"))
    return lane, lane.withdraw


class Offers:
    """Takes a message once it may."""

    may = False

    def __call__(self, part: SessionList) -> bool:
        return self.may


@owned_by(Giver)
def a_session_cannot_be_sent_and_its_taker_goes(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane = stack.enter_context(a_lane(a_snapshot([echo])))
    client = stack.enter_context(keep(lane.address)[0])
    ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)

    def fail(*message: object) -> bool:
        raise OSError(errno.ENOBUFS, "")

    stack.enter_context(pytest.MonkeyPatch.context()).setattr(Channel, "send", fail)
    lane.run(lambda: lane.lane.hand_over([ours]))
    stack.callback(leave, client)
    return lane, theirs.close


@owned_by(Listing)
def a_list_is_taken(stack: ExitStack, echo: SocketAddress) -> Begun:
    lane, offers = stack.enter_context(a_lane(a_snapshot([echo]))), Offers()
    lane.run(lambda: lane.lane.list_sessions(AskSessions(number=1, slots=None), offers))
    return lane, lambda: setattr(offers, "may", True)


def test_a_list_that_nobody_takes_is_given_up(echo: SocketAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_PATIENCE", SHORT)
    with a_lane(a_snapshot([echo])) as lane:
        lane.run(lambda: lane.lane.list_sessions(AskSessions(number=1, slots=None), Offers()))
        eventually(lambda: not lane.deadlines(), "it is not offered any more")


def test_a_pause_does_not_grow_longer_when_descriptors_run_out_again(
    echo: SocketAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dials that want one say so again and again, meanwhile there is one for the client that waits."""
    monkeypatch.setattr(acceptor, "_PAUSE", 0.2)
    with a_lane(a_snapshot([echo])) as lane:
        lane.run(lambda: lane.lane._exhausted("too few"))
        with lane.connect() as client:

            def accepted() -> bool:
                lane.run(lambda: lane.lane._exhausted("too few"))
                return lane.clients == 1

            eventually(accepted, "the pause is over")
            leave(client)


@pytest.mark.parametrize("way", ["cut", "given away"])
def test_that_of_a_resting_flow_goes_with_its_session(way: str, echo: SocketAddress) -> None:
    """A flow rests for a second at most, so all is seen in one moment of its thread."""
    with a_lane(with_listener(a_snapshot([echo]), upload_rate="2")) as lane:
        client, _ = keep(lane.address)
        client.sendall(bytes(1000))
        thread = lane.lane.thread
        seen: list[tuple[list[object], list[object]]] = []

        def end() -> None:
            before = standing(thread)
            if before:
                (session,) = thread.sessions()
                if way == "cut":
                    thread.end(session, End.CUT)
                else:
                    assert thread.let_go(session)
                seen.append((before, standing(thread)))
                if way != "cut":
                    thread.take_back(session)
                    assert len(standing(thread)) == 1

        def has_ended() -> bool:
            lane.run(end)
            return bool(seen)

        eventually(has_ended, "it rests")
        ((before, after),) = seen
        assert list(map(type, before)) == [LimitedFlow]
        assert after == []
        reset(client)
