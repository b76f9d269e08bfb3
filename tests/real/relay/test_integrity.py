"""What arrives is what was sent, and ends as it was ended: in every mode, on both conduits, over real TCP."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from itertools import chain, repeat
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from kubelb.relay.session import End
from tests.real.relay.rig import BLOB, DEADLINE, LARGE, SMALL, Link, Rig, digest, fill, read_to_the_end
from tests.support.eventually import eventually
from tests.support.identity import reset


class Mode(Enum):
    SHARED = "shared"
    ALONE = "alone"
    """A thread a session, from the beginning."""
    BULK = "bulk"
    """Shared, then taken to a thread of its own for what it moves."""


every_way = pytest.mark.parametrize(
    ("mode", "zero_copy"),
    [(mode, zero_copy) for mode in Mode for zero_copy in (True, False)],
    ids=lambda value: value.value if isinstance(value, Mode) else ("splice" if value else "copy"),
)
_UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failure here costs a deadline; shrinking it would cost hundreds."""
modest = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=_UNSHRUNK)


@contextmanager
def rig_for(mode: Mode, zero_copy: bool) -> Iterator[Rig]:
    with Rig(zero_copy, share=mode is not Mode.ALONE) as rig:
        yield rig


def begun(rig: Rig, mode: Mode, limited: bool = True) -> tuple[Link, int]:
    """A session that is where the mode wants it, and the bytes it moved up for that.

    ``limited``: the system has little room for its bytes.
    """
    room = LARGE if mode is Mode.BULK else SMALL
    link = rig.open(room if limited else None)
    if mode is Mode.BULK:
        return link, rig.promote(link)
    if mode is Mode.ALONE:
        eventually(lambda: link.is_alone, "the session has a thread of its own")
    return link, 0


class Script(NamedTuple):
    """What one far end does."""

    chunks: list[int]
    """Sizes of what it sends, one call each."""
    reads: list[int]
    """Sizes of its first reads; then it reads in large pieces."""
    waits: bool
    """Reads nothing before the other has sent all, or cannot send more."""
    last: bool
    """Ends only after the other has ended."""


sizes = st.integers(1, 100) | st.integers(1, 300 << 10)
scripts = st.builds(
    Script, st.lists(sizes, max_size=12), st.lists(st.integers(1, 8 << 10), max_size=50), st.booleans(), st.booleans()
)


class Plan(NamedTuple):
    """A session."""

    client: Script
    server: Script
    limited: bool
    """Whether the system has little room for its bytes."""


plans = st.builds(Plan, scripts, scripts, st.booleans()).filter(
    lambda plan: not (plan.client.last and plan.server.last)
)


class Far:
    """A far end at work on its script, on two threads."""

    def __init__(self, sock: socket.socket, script: Script, offset: int, pumped: int = 0) -> None:
        """``pumped``: bytes that it has sent already; what it sends now is from ``offset`` of the blob."""
        self.sock = sock
        self._script = script
        self.sends = memoryview(BLOB)[offset : offset + sum(script.chunks)]
        self.pumped = pumped
        self.may_read = threading.Event()
        self._read_all = threading.Event()
        self.sending: Future[None]
        self.reading: Future[bytearray]

    def begin(self, pool: ThreadPoolExecutor) -> None:
        self.sending = pool.submit(self._send)
        self.reading = pool.submit(self._read)

    def _send(self) -> None:
        at = 0
        for size in self._script.chunks:
            self.sock.sendall(self.sends[at : at + size])
            at += size
        if self._script.last:
            assert self._read_all.wait(DEADLINE)
        self.sock.shutdown(socket.SHUT_WR)

    def _read(self) -> bytearray:
        assert self.may_read.wait(DEADLINE)
        received = bytearray()
        for size in chain(self._script.reads, repeat(64 << 10)):
            piece = self.sock.recv(size)
            if not piece:
                break
            received += piece
        self._read_all.set()
        return received

    def let_read(self, link: Link, sender: Far) -> None:
        """At once, or when its script says so."""
        if self._script.waits:
            flow = link.flow_from(sender.sock)
            through = sender.pumped + len(sender.sends)
            eventually(lambda: flow.held or flow.moved >= through or sender.sending.done(), "all sent, or blocked")
            event("blocked" if flow.held else "not blocked")
        self.may_read.set()


@every_way
@modest
@given(chosen=st.lists(plans, min_size=1, max_size=3), offset=st.integers(0, 1000))
def test_what_arrives_is_what_was_sent(mode: Mode, zero_copy: bool, chosen: list[Plan], offset: int) -> None:
    with rig_for(mode, zero_copy) as rig, ThreadPoolExecutor(4 * len(chosen)) as pool:
        carried = []
        for plan in chosen:
            link, pumped = begun(rig, mode, plan.limited)
            client = Far(link.client, plan.client, offset, pumped)
            server = Far(link.server, plan.server, offset + 4_000_000)
            for far in (client, server):
                far.begin(pool)
            carried.append((link, client, server))
        for link, client, server in carried:
            client.let_read(link, server)
            server.let_read(link, client)
        for link, client, server in carried:
            for far, sender in ((client, server), (server, client)):
                far.sending.result(DEADLINE)
                assert digest(far.reading.result(DEADLINE)) == digest(sender.sends)
            assert rig.end_of(link) is End.CLOSED
            assert rig.moved(link) == (client.pumped + len(client.sends), len(server.sends))


@every_way
def test_what_is_not_read_is_held_back_and_not_lost(mode: Mode, zero_copy: bool) -> None:
    with rig_for(mode, zero_copy) as rig:
        link, pumped = begun(rig, mode)
        up, down = link.block(link.client, BLOB), link.block(link.server, BLOB[::-1])
        held = {id(flow.held) for flow in (link.session.up, link.session.down)}
        assert len(held) == 2
        link.client.shutdown(socket.SHUT_WR)
        link.server.shutdown(socket.SHUT_WR)
        assert digest(read_to_the_end(link.server)) == digest(BLOB[:up])
        assert digest(read_to_the_end(link.client)) == digest(BLOB[::-1][:down])
        assert rig.end_of(link) is End.CLOSED
        assert rig.moved(link) == (pumped + up, down)


@every_way
@pytest.mark.parametrize("first", ["client", "server"])
def test_one_side_may_end_long_before_the_other(mode: Mode, zero_copy: bool, first: str) -> None:
    with rig_for(mode, zero_copy) as rig:
        link, _ = begun(rig, mode)
        one, other = (link.client, link.server) if first == "client" else (link.server, link.client)
        one.sendall(b"question")
        one.shutdown(socket.SHUT_WR)
        assert read_to_the_end(other) == b"question"
        for _ in range(3):
            other.sendall(b"answer")
            assert one.recv(64) == b"answer"
        other.shutdown(socket.SHUT_WR)
        assert one.recv(64) == b""
        assert rig.end_of(link) is End.CLOSED


class Cut(NamedTuple):
    """A reset, and what was going on."""

    by_client: bool
    sent: int
    """Bytes it sent before."""
    received: int
    """Bytes the other sent to it before."""
    other_reads: bool
    """Whether the other end read what came before the reset."""
    blocked: bool
    """Whether the relay held bytes back, for either end."""
    other_ended: bool
    """Whether the other end had ended its direction."""


cuts = st.builds(
    Cut,
    st.booleans(),
    st.integers(0, 200_000),
    st.integers(0, 200_000),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@every_way
@modest
@given(cut=cuts)
def test_a_reset_arrives_as_a_reset(mode: Mode, zero_copy: bool, cut: Cut) -> None:
    with rig_for(mode, zero_copy) as rig:
        link, _ = begun(rig, mode)
        one = link.client if cut.by_client else link.server
        other = link.other(one)
        if cut.blocked:
            sent = link.block(one, BLOB)
            link.block(other, BLOB)
        else:
            sent = fill(one, BLOB[: cut.sent])
            fill(other, BLOB[: cut.received])
        if cut.other_ended:
            other.shutdown(socket.SHUT_WR)
        came = bytearray()
        if cut.other_reads and sent:
            came += other.recv(sent)
        reset(one)
        with pytest.raises(ConnectionResetError):
            read_to_the_end(other, came)
        assert BLOB.startswith(came)
        assert len(came) <= sent
        assert rig.end_of(link) is (End.CLIENT_RESET if cut.by_client else End.SERVER_RESET)


@every_way
@pytest.mark.parametrize("by_client", [True, False], ids=["client", "server"])
def test_one_that_has_ended_may_still_reset(mode: Mode, zero_copy: bool, by_client: bool) -> None:
    with rig_for(mode, zero_copy) as rig:
        link, _ = begun(rig, mode)
        one = link.client if by_client else link.server
        other = link.other(one)
        one.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        reset(one)
        assert rig.end_of(link) is (End.CLIENT_RESET if by_client else End.SERVER_RESET)
        with pytest.raises(ConnectionError):
            eventually(lambda: not other.send(b"too late"), "a refusal")


@every_way
@modest
@given(by_client=st.booleans(), sent=st.integers(0, 400_000), chunk=st.integers(1000, 100_000))
def test_a_reset_in_the_middle_of_traffic_both_ways_is_seen(
    mode: Mode, zero_copy: bool, by_client: bool, sent: int, chunk: int
) -> None:
    """The other end meets it where it reads or where it writes, whichever comes first."""
    with rig_for(mode, zero_copy) as rig, ThreadPoolExecutor(2) as pool:
        link, _ = begun(rig, mode)
        one = link.client if by_client else link.server
        other = link.other(one)

        def write_for_ever() -> None:
            while True:
                other.sendall(BLOB[:chunk])

        writing, reading = pool.submit(write_for_ever), pool.submit(read_to_the_end, other)
        one.sendall(BLOB[:sent])
        reset(one)
        failures = [writing.exception(DEADLINE), reading.exception(DEADLINE)]
        assert any(isinstance(failure, ConnectionResetError) for failure in failures)
        assert isinstance(failures[0], ConnectionError)
        assert failures[1] is None or isinstance(failures[1], ConnectionResetError)
        assert rig.end_of(link) is (End.CLIENT_RESET if by_client else End.SERVER_RESET)


@pytest.mark.parametrize("zero_copy", [True, False], ids=["splice", "copy"])
@pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
def test_many_sessions_at_once_do_not_mix(zero_copy: bool, share: bool) -> None:
    rng = random.Random(1)
    with Rig(zero_copy, share) as rig:
        links = [rig.open() for _ in range(40)]
        for _ in range(5):
            sent = [(BLOB[at : at + rng.randrange(1, 2000)]) for at in rng.sample(range(1 << 20), len(links))]
            for link, data in zip(links, sent, strict=True):
                link.client.sendall(data)
                link.server.sendall(data[::-1])
            for link, data in zip(links, sent, strict=True):
                assert link.server.recv(len(data), socket.MSG_WAITALL) == data
                assert link.client.recv(len(data), socket.MSG_WAITALL) == data[::-1]
        rng.shuffle(links)
        for link in links:
            link.client.shutdown(socket.SHUT_WR)
            assert link.server.recv(1) == b""
            link.server.close()
            assert rig.end_of(link) is End.CLOSED


def test_a_session_alone_returns_when_it_is_quiet_and_goes_again_when_it_is_not() -> None:
    with Rig() as rig:
        link, neighbour = rig.open(LARGE), rig.open()
        pumped = rig.promote(link)
        eventually(lambda: not link.is_alone, "the session has returned")
        pumped += rig.promote(link)
        pumped += (blocked := link.block(link.client, BLOB))
        assert link.is_alone
        eventually(lambda: not link.is_alone, "the session has returned with what it holds")
        neighbour.client.sendall(b"still here")
        assert neighbour.server.recv(64) == b"still here"
        link.client.shutdown(socket.SHUT_WR)
        assert digest(read_to_the_end(link.server)) == digest(BLOB[:blocked])
        link.server.close()
        assert rig.end_of(link) is End.CLOSED
        assert rig.moved(link) == (pumped, 0)
