"""What a hand-over carries along: all that is known of a session, through a real channel, with real descriptors."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb.config.variables import Client, Opening, Try
from kubelb.relay.conduit import Conduit
from kubelb.relay.copy import CopyBuffer
from kubelb.relay.flow import State
from kubelb.relay.session import Flow, LimitedFlow, Session
from kubelb.relay.splice import SplicePipe
from kubelb.snapshot import Listener, Server
from kubelb.wire.channel import Channel, close_all
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER
from kubelb.wire.messages import FlowHanded, Handed
from kubelb.worker.books import Visit
from kubelb.worker.handed import WrongSession, session_of
from kubelb.worker.handover import _let_go, _record
from tests.support.leaks import Holdings

pytestmark = pytest.mark.usefixtures("no_leaks")

SESSION_KEEPS: Final = {"about", "half_close", "half_close_timeout", "idle_timeout", "slot"}
FLOW_KEEPS: Final = {"first_at", "moved", "moved_at", "state"}
LIMITED_FLOW_KEEPS: Final = {"due", "rate"}

seconds = st.floats(0, 1e9)
sizes = st.integers(0, 1 << 60)
ports = st.integers(1, 65535)
addresses = st.tuples(st.sampled_from(["10.1.2.3", "fd00::7"]), ports)
clients = st.builds(
    Client,
    number=sizes,
    remote=addresses,
    local=addresses,
    accepted_at=seconds,
    connected_from=st.none() | addresses,
    told_source=st.none() | addresses,
    told_destination=st.none() | addresses,
    limit_status=st.sampled_from(["", "PASSED"]),
    counted_as=st.lists(sizes, max_size=3).map(tuple),
    own=st.none() | st.dictionaries(st.text(max_size=3), st.binary(max_size=3), max_size=3),
)
tries = st.builds(Try, server=st.text(), began_at=seconds, seconds=seconds, accepted=st.booleans(), header=sizes)
visits = st.builds(
    Visit,
    client=addresses,
    listener=st.builds(
        Listener,
        address=st.text(),
        pool=st.none() | st.text(),
        connect_timeout=seconds,
        half_close=st.booleans(),
        half_close_timeout=seconds,
    ),
    server=st.builds(Server, slot=st.integers(1, 255), name=st.text(), address=addresses, weight=st.integers(1, 9)),
    opened_at=seconds,
    opening=st.none()
    | st.builds(Opening, client=clients, accepted_at=seconds, tries=st.lists(tries, max_size=2).map(tuple)),
    counted_as=st.lists(sizes, max_size=3).map(tuple),
)
HELD: Final[dict[str, Callable[[bytes], Conduit | None]]] = {
    "nothing": lambda data: None,
    "pipe": lambda data: piped(data),
    "buffer": lambda data: buffered(data),
}
NEEDED: Final = 6
"""Descriptors of a session that holds back bytes in both directions, in pipes."""
GONE: Final = b"the destination has taken these"
flows = st.fixed_dictionaries(
    {
        "held": st.sampled_from(list(HELD)),
        "data": st.binary(min_size=1, max_size=300),
        "state": st.sampled_from([State.OPEN, State.SHUT, State.RESTING]),
        "moved": sizes,
        "moved_at": seconds,
        "first_at": st.none() | seconds,
        "rate": st.just(0) | st.integers(1, 1 << 40),
        "due": seconds,
    }
)


def piped(data: bytes) -> SplicePipe:
    """A pipe with these bytes in it, and no more those before them."""
    pipe = SplicePipe(1 << 16, 1 << 16)
    os.write(pipe._write, GONE + data)
    os.read(pipe._read, len(GONE))
    pipe.held = len(data)
    return pipe


def buffered(data: bytes) -> CopyBuffer:
    """As :func:`piped`."""
    buffer = CopyBuffer(1 << 16, GONE + data)
    buffer._first, buffer.held = len(GONE), len(data)
    return buffer


@contextmanager
def a_session(visit: Visit, slot: int, idle_timeout: float | None, **directions: dict[str, Any]) -> Iterator[Session]:
    """Of two connections, whose far ends are closed when it ends; ``up`` and ``down`` are :data:`flows`."""
    with ExitStack() as stack:
        (client, one), (server, other) = socket.socketpair(), socket.socketpair()
        stack.enter_context(one)
        stack.enter_context(other)
        session = Session(
            socket.SocketType(fileno=client.detach()),
            socket.SocketType(fileno=server.detach()),
            slot,
            0.0,
            idle_timeout,
            visit,
            lasting=((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),),
            rates=(directions["up"]["rate"], directions["down"]["rate"]),
            half_close=visit.listener.half_close,
            half_close_timeout=visit.listener.half_close_timeout,
        )
        for name, wanted in directions.items():
            fill(getattr(session, name), wanted)
        yield session


def fill(flow: Flow, wanted: dict[str, Any]) -> None:
    flow.held = HELD[wanted["held"]](wanted["data"])
    if flow.held is not None:
        flow.state = State.BLOCKED
    elif isinstance(flow, LimitedFlow) or wanted["state"] is not State.RESTING:
        flow.state = wanted["state"]
    flow.moved, flow.moved_at, flow.first_at = wanted["moved"], wanted["moved_at"], wanted["first_at"]
    flow.streak, flow.streak_end, flow.unsent, flow.watched = 3, 4, 5, 6
    if isinstance(flow, LimitedFlow):
        flow.due = wanted["due"]


def received(session: Session, number: int) -> tuple[Handed, list[int]]:
    """The record as it arrives, and the descriptors that come along."""
    giver, taker = Channel.pair(FROM_TAKER, FROM_GIVER)
    fds: list[int] = []
    session.settle()
    assert giver.offer(_record(number, session, fds), fds)
    close_all(fds[2:])
    message, came = taker.receive_with_fds()
    giver.close()
    taker.close()
    assert isinstance(message, Handed)
    return message, came


def handed_over(session: Session, number: int) -> tuple[Handed, Session]:
    """The record as it arrives, and what a taker makes of it and of the descriptors that come along."""
    message, came = received(session, number)
    return message, session_of(message, came)


def kept(session: Session) -> dict[str, Any]:
    """All that must be the same on the other side."""
    found = {name: getattr(session, name) for name in SESSION_KEEPS}
    for direction, flow in (("up", session.up), ("down", session.down)):
        names = FLOW_KEEPS | (LIMITED_FLOW_KEEPS if isinstance(flow, LimitedFlow) else set())
        found |= {f"{direction}.{name}": getattr(flow, name) for name in names}
        found[f"{direction}.limited"] = flow.limited
    return found


def assert_its_own(session: Session, before: Session) -> None:
    """What belongs to the side that a session is on."""
    assert session.counted == (before.up.moved, before.down.moved), "the giver has that in its books"
    assert session.lasting == (), "they are set before it is given"
    assert session.wheel_key == 0
    for ours, theirs in ((session.client, before.client), (session.server, before.server)):
        assert ours.fileno() != theirs.fileno()
        assert os.path.sameopenfile(ours.fileno(), theirs.fileno())
    client, server = session.client.fileno(), session.server.fileno()
    for flow, back, ends in (
        (session.up, session.down, (client, server)),
        (session.down, session.up, (server, client)),
    ):
        assert (flow.src, flow.dst, flow.back, flow.session) == (*ends, back, session)
        assert (flow.streak, flow.streak_end, flow.unsent, flow.watched) == (0, 0, 0, -1)


def test_every_field_is_known_to_these_tests() -> None:
    """A new one is kept, and in the record, or each side has its own: it is to be said here which."""
    own = {"client", "counted", "down", "lasting", "on_first_bytes", "server", "up", "wheel_key"}
    assert set(Session.__slots__) == SESSION_KEEPS | own
    own = {"back", "dst", "held", "session", "src", "streak", "streak_end", "unsent", "watched"}
    assert set(Flow.__slots__) == FLOW_KEEPS | own
    assert set(LimitedFlow.__slots__) == LIMITED_FLOW_KEEPS | {"wheel_key"}
    assert set(Handed.__struct_fields__) == {"number", "slot", "up", "down", "idle_timeout", *Visit._fields}
    assert set(FlowHanded.__struct_fields__) == FLOW_KEEPS | LIMITED_FLOW_KEEPS | {"held", "in_pipe"}


@settings(deadline=None)
@given(visits, st.integers(1, 255), st.none() | seconds, flows, flows)
def test_all_that_is_known_of_a_session_arrives(
    visit: Visit, slot: int, idle_timeout: float | None, up: dict[str, Any], down: dict[str, Any]
) -> None:
    with a_session(visit, slot, idle_timeout, up=up, down=down) as session:
        before = kept(session)
        _, after = handed_over(session, 1)
        assert kept(after) == before
        assert_its_own(after, session)
        for flow, wanted in ((after.up, up), (after.down, down)):
            assert (flow.held is not None) == (wanted["held"] != "nothing")
            if flow.held is not None:
                assert flow.held.held == len(wanted["data"])
                assert flow.held.salvage() == wanted["data"]
        _let_go(after)
        _let_go(session)


@settings(deadline=None)
@given(visits, st.integers(1, 255), st.none() | seconds, flows, flows, sizes)
def test_what_arrives_can_be_handed_on_and_is_the_same_again(
    visit: Visit, slot: int, idle_timeout: float | None, up: dict[str, Any], down: dict[str, Any], number: int
) -> None:
    """Every field of the record, that is: what one side forgets it cannot give to the next."""
    with a_session(visit, slot, idle_timeout, up=up, down=down) as session:
        first, after = handed_over(session, number)
        again, last = handed_over(after, number)
        assert again == first
        for one in (session, after, last):
            _let_go(one)


def held(kind: str) -> dict[str, Any]:
    fields = {"held": kind, "data": b"held back", "state": State.OPEN, "moved": 9, "moved_at": 1.0}
    return {**fields, "first_at": 1.0, "rate": 0, "due": 0.0}


def a_visit() -> Visit:
    server = Server(slot=1, name="a", address=("127.0.0.1", 1))
    return Visit(("127.0.0.1", 2), Listener(address="x", pool="p", connect_timeout=1.0), server, 1.0)


def replaced(fds: list[int], position: int, wrong: int) -> None:
    os.close(fds[position])
    fds[position] = wrong


def a_socket(kind: int, listens: bool = False) -> int:
    sock = socket.socket(socket.AF_INET, kind)
    if listens:
        sock.listen()
    return sock.detach()


def an_end(which: int) -> int:
    """Of a pipe with the bytes that are to be there."""
    ends = os.pipe2(os.O_NONBLOCK)
    os.write(ends[1], b"held back")
    os.close(ends[1 - which])
    return ends[which]


KINDS: Final[dict[str, Callable[[], int]]] = {
    "device": lambda: os.open(os.devnull, os.O_RDWR),
    "directory": lambda: os.open("/", os.O_RDONLY),
    "path": lambda: os.open("/", os.O_PATH),
    "event": lambda: os.eventfd(0),
    "datagrams": lambda: a_socket(socket.SOCK_DGRAM),
    "listener": lambda: a_socket(socket.SOCK_STREAM, listens=True),
    "another pipe read": lambda: an_end(0),
    "another pipe written": lambda: an_end(1),
    "memory": lambda: os.memfd_create("wrong"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", range(NEEDED))
def test_descriptors_that_are_none_of_a_session_leave_none_open(position: int, kind: str) -> None:
    """There is no session of them; all are closed, and what is left of it ends by a reset."""
    with a_session(a_visit(), 1, None, up=held("pipe"), down=held("pipe")) as session:
        before = Holdings.now().fds
        message, came = received(session, 1)
        assert len(came) == NEEDED
        replaced(came, position, KINDS[kind]())
        with pytest.raises(WrongSession):
            session_of(message, came)
        assert Holdings.now().fds == before
        for place, sock in enumerate((session.client, session.server)):
            if place != position:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
        _let_go(session)


def a_byte_more(fds: list[int]) -> None:
    os.write(fds[3], b"x")


def a_byte_less(fds: list[int]) -> None:
    os.read(fds[2], 1)


def the_other_ones_pipe(fds: list[int]) -> None:
    fds[2:6] = fds[4], fds[3], fds[2], fds[5]


def ends_swapped(fds: list[int]) -> None:
    fds[2:4] = fds[3], fds[2]


def one_too_many(fds: list[int]) -> None:
    fds.append(os.eventfd(0))


@pytest.mark.parametrize("spoil", [a_byte_more, a_byte_less, the_other_ones_pipe, ends_swapped, one_too_many])
def test_pipes_that_do_not_hold_what_is_said(spoil: Callable[[list[int]], None]) -> None:
    with a_session(a_visit(), 1, None, up=held("pipe"), down=held("pipe")) as session:
        before = Holdings.now().fds
        message, came = received(session, 1)
        spoil(came)
        with pytest.raises(WrongSession):
            session_of(message, came)
        assert Holdings.now().fds == before
        _let_go(session)


@pytest.mark.parametrize("size", [0, 8, 10])
def test_a_file_that_does_not_hold_what_is_said(tmp_path: Path, size: int) -> None:
    with a_session(a_visit(), 1, None, up=held("buffer"), down=held("nothing")) as session:
        before = Holdings.now().fds
        message, came = received(session, 1)
        os.ftruncate(came[2], size)
        with pytest.raises(WrongSession):
            session_of(message, came)
        message, came = received(session, 1)
        (tmp_path / "file").write_bytes(b"held back")
        replaced(came, 2, os.open(tmp_path / "file", os.O_RDONLY))
        with pytest.raises(WrongSession):
            session_of(message, came)
        assert Holdings.now().fds == before
        _let_go(session)


@pytest.mark.parametrize(
    ("kind", "state", "right"),
    [
        ("pipe", State.BLOCKED, True),
        ("pipe", State.OPEN, False),
        ("pipe", State.SHUT, False),
        ("nothing", State.OPEN, True),
        ("nothing", State.BLOCKED, False),
        ("nothing", State.RESTING, False),
    ],
)
def test_states_that_no_session_is_in(kind: str, state: State, right: bool) -> None:
    with a_session(a_visit(), 1, None, up=held(kind), down=held("nothing")) as session:
        message, came = received(session, 1)
        message = msgspec.structs.replace(message, up=msgspec.structs.replace(message.up, state=int(state)))
        if right:
            _let_go(session_of(message, came))
        else:
            with pytest.raises(WrongSession):
                session_of(message, came)
        _let_go(session)


def test_connections_that_block_do_not_any_more() -> None:
    with a_session(a_visit(), 1, None, up=held("pipe"), down=held("nothing")) as session:
        message, came = received(session, 1)
        for fd in came:
            os.set_blocking(fd, True)
        after = session_of(message, came)
        assert isinstance(after.up.held, SplicePipe)
        ends = (after.client.fileno(), after.server.fileno(), after.up.held._read, after.up.held._write)
        assert not any(map(os.get_blocking, ends))
        _let_go(after)
        _let_go(session)
