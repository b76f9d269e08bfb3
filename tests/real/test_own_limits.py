"""A limit of this node that is met in the middle of anything ends at most the session it was met for.

Every system call that a relay thread makes for a few sessions fails once: no byte of a client reaches another,
nothing is left behind, and whoever comes afterwards is served.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kubelb.config.model.listeners import Limit
from kubelb.relay.pipes import SHARED
from kubelb.snapshot import Snapshot, SocketAddress
from kubelb.stats import Count
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER
from tests.support.eventually import eventually
from tests.support.failing import ERRNOS, Failing, failing_calls
from tests.support.hello import client_hello
from tests.support.identity import reset
from tests.support.lanes import RunningLane, a_lane, a_snapshot, with_listener
from tests.support.leaks import Holdings

_MUCH = 1 << 20
"""Bytes; more than the sockets on the way hold."""
_LITTLE = 10
"""Bytes."""
_BLOCKS = 8
"""The calls are dealt out to so many tests, which can run beside each other."""

HELLO = client_hello()

pytestmark = pytest.mark.usefixtures("no_leaks")


class Server:
    """A client's first two bytes are its mark and what it wants: an echo (e), much of its mark (m), that without
    end (u), a little of it (3, with which a hello goes on), or only to be read (s)."""

    def __init__(self, late: float = 0.0) -> None:
        """Whoever wants a little gets it after so many seconds."""
        self._late = late
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: SocketAddress = self._listener.getsockname()
        self._thread = threading.Thread(target=self._accept, name="server")

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        others: list[threading.Thread] = []
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                break
            others.append(threading.Thread(target=self._serve, args=(client,), name="server-session"))
            others[-1].start()
        for other in others:
            other.join()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            said = b""
            while len(said) < 2 and (piece := client.recv(2 - len(said))):
                said += piece
            mark, wish = said[:1], said[1:]
            if wish == HELLO[1:2]:
                time.sleep(self._late)
                client.sendall(mark * _LITTLE)
            if wish == b"m":
                client.sendall(mark * _MUCH)
            while wish == b"u":
                client.sendall(mark * _MUCH)
            while piece := client.recv(65536):
                if wish == b"e":
                    client.sendall(piece)


@contextmanager
def _may_be_reset() -> Iterator[None]:
    """It may be, but may not have to wait for ever."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        pass


class Guest:
    """A client that knows its own bytes: it has a mark, and may be reset, but never meets another's, nor waits."""

    def __init__(self, lane: RunningLane, mark: bytes, wish: bytes) -> None:
        self.mark = mark
        self.sock = socket.socket()
        self.sock.settimeout(30)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with _may_be_reset():
            self.sock.connect(lane.address)
        self.send(mark + wish)

    def send(self, data: bytes) -> None:
        with _may_be_reset():
            self.sock.sendall(data)

    def read(self, count: int) -> int:
        """So many bytes, or fewer where it is reset, or where that is all: how many they were."""
        got = 0
        with _may_be_reset():
            while got < count and (piece := self.sock.recv(65536)):
                assert set(piece) <= set(self.mark), f"{self.mark!r} has met the bytes of another: {piece[:64]!r}"
                got += len(piece)
        return got

    def finish(self) -> None:
        """Say the end, and read to the end."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.read(1 << 30)
        self.sock.close()


@contextmanager
def released(failing: Failing) -> Iterator[None]:
    """What is opened within is closed by the end."""
    before = Holdings.now()
    yield
    eventually(lambda: Holdings.now().no_more_than(before), f"nothing is left open after {failing.failed}", 10)


@contextmanager
def a_failing_lane(snapshot: Snapshot, share: bool = True) -> Iterator[tuple[RunningLane, Failing]]:
    with failing_calls() as failing, released(failing), a_lane(snapshot, share) as lane:
        try:
            yield lane, failing
        finally:
            failing.disarm()


def play_sessions(lane: RunningLane, failing: Failing, number: int, choice: int, count: int) -> int:
    """A few sessions of each kind while calls fail; how many calls there were."""
    early = Guest(lane, b"a", b"e")
    assert early.read(0) == 0
    early.send(b"a" * 10)
    assert early.read(10) == 10
    failing.arm(number, choice, count)
    reader = Guest(lane, b"b", b"m")
    writer = Guest(lane, b"c", b"s")
    early.send(b"a" * 10)
    early.read(10)
    sender = threading.Thread(target=writer.send, args=(b"c" * _MUCH,))
    sender.start()
    late = Guest(lane, b"d", b"e")
    late.send(b"d" * 10)
    late.read(10)
    early.send(b"a" * 70000)
    early.read(70000)
    reader.read(_MUCH // 2)
    resetting = Guest(lane, b"e", b"e")
    resetting.send(b"e")
    resetting.read(1)
    reset(resetting.sock)
    reader.finish()
    sender.join()
    for guest in (writer, early, late):
        guest.finish()
    return assert_serves(lane, failing)


def assert_serves(lane: RunningLane, failing: Failing) -> int:
    """Nothing fails any more, and a new client is served. How many calls there were before."""
    calls = failing.calls
    failing.disarm()
    after = Guest(lane, b"z", b"e")
    after.send(b"z" * 10)
    assert after.read(10) == 10, f"nobody is served after {failing.failed}"
    after.finish()
    return calls


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


Play = Callable[[int, int, int], int]
"""Plays once while calls fail: from which one on, with which of their errnos, and how many. How many were made."""


def play_all(block: int, play: Play) -> None:
    """Every call of this block fails, one each time."""
    number, calls = 1 + block, 1 + block
    while number <= calls:
        calls = play(number, number // _BLOCKS, 1)
        number += _BLOCKS


@pytest.mark.parametrize("block", range(_BLOCKS))
@pytest.mark.parametrize("share", [True, False], ids=["shared", "per-connection"])
def test_every_call_for_a_session_may_fail(server: Server, share: bool, block: int) -> None:
    def play(number: int, choice: int, count: int) -> int:
        with a_failing_lane(a_snapshot([server.address], connect_timeout=10.0), share) as (lane, failing):
            return play_sessions(lane, failing, number, choice, count)

    play_all(block, play)


@settings(max_examples=30)
@given(number=st.integers(1, 150), choice=st.integers(0, 5), count=st.integers(2, 60))
def test_many_calls_may_fail_one_after_the_other(server: Server, number: int, choice: int, count: int) -> None:
    with a_failing_lane(a_snapshot([server.address], connect_timeout=10.0)) as (lane, failing):
        play_sessions(lane, failing, number, choice, count)


@pytest.mark.parametrize("block", range(2))
def test_every_call_on_the_way_to_a_server_may_fail(server: Server, block: int) -> None:
    """A PROXY header that comes in pieces, a place among few, a bound on the bytes a second."""
    limit = Limit(key="$remote_addr", zone="z", connections=100)
    settings = {"accept_proxy_protocol": True, "limits": (limit,), "download_rate": str(_MUCH)}
    snapshot = with_listener(a_snapshot([server.address], connect_timeout=10.0), **settings)

    def play(number: int, choice: int, count: int) -> int:
        with a_failing_lane(snapshot) as (lane, failing):
            failing.arm(number, choice, count)
            for mark in (b"a", b"b"):
                guest = Guest(lane, b"", b"PROXY TCP4 127.0.0.1 ")
                guest.send(b"127.0.0.1 1 2\r\n" + mark + b"e" + mark * 10)
                guest.mark = mark
                guest.read(10)
                guest.finish()
            lane.see(with_listener(snapshot, accept_proxy_protocol=False))
            return assert_serves(lane, failing)

    play_all(block, play)


@pytest.mark.parametrize("block", range(2))
def test_every_call_for_a_fixed_answer_may_fail(server: Server, block: int) -> None:
    snapshot = a_snapshot([server.address])

    def play(number: int, choice: int, count: int) -> int:
        with a_failing_lane(with_listener(snapshot, pool=None, answer="a" * _MUCH)) as (lane, failing):
            failing.arm(number, choice, count)
            for _ in range(2):
                guest = Guest(lane, b"a", b"")
                guest.finish()
            lane.see(snapshot)
            return assert_serves(lane, failing)

    play_all(block, play)


@pytest.mark.parametrize("block", range(_BLOCKS))
def test_every_call_of_a_hand_over_may_fail(server: Server, block: int) -> None:
    """A session with bytes on their way, and one without, go to another relay thread, or stay, or end."""
    snapshot = a_snapshot([server.address], connect_timeout=10.0)

    def play(number: int, choice: int, count: int) -> int:
        with a_failing_lane(snapshot) as (giver, failing), a_lane(snapshot) as taker:
            full, quiet = Guest(giver, b"a", b"m"), Guest(giver, b"b", b"e")
            quiet.send(b"b" * 10)
            assert quiet.read(10) == 10
            eventually(lambda: giver.lane.thread.sessions(), "there are sessions")
            ours, theirs = Channel.pair(FROM_TAKER, FROM_GIVER)
            failing.arm(number, choice, count)
            taker.run(lambda: taker.lane.receive(theirs))
            giver.run(lambda: giver.lane.hand_over([ours]))
            quiet.send(b"b" * 10)
            quiet.read(10)
            full.finish()
            quiet.finish()
            calls = assert_serves(taker, failing)
            taker.run(lambda: taker.lane.leave(lambda: None))
            eventually(lambda: ours.fileno() < 0, "the giver has heard that nobody takes any more")
            return calls

    play_all(block, play)


@pytest.fixture(scope="module")
def late_server() -> Iterator[Server]:
    with Server(late=0.5) as server:
        yield server


@pytest.mark.parametrize("block", range(_BLOCKS))
def test_every_call_for_a_second_server_may_fail(late_server: Server, server: Server, block: int) -> None:
    """Whoever has no second chance for it has the late answer of its first server."""
    addresses = [late_server.address, server.address]
    snapshot = a_snapshot(addresses, connect_timeout=10.0, hedge_delay=0.001)

    def play(number: int, choice: int, count: int) -> int:
        with a_failing_lane(snapshot) as (lane, failing):
            failing.arm(number, choice, count)
            guests = [Guest(lane, b"", HELLO) for _ in range(2)]
            for guest in guests:
                guest.mark = HELLO[:1]
                guest.read(_LITTLE)
            if not failing.failed:
                assert lane.count(Count.UNANSWERED) == [1, 0], "one has had a second server"
            for guest in guests:
                guest.finish()
            return assert_serves(lane, failing)

    play_all(block, play)
    play(1 << 20, 0, 1)


def test_what_a_session_was_broken_off_by_is_told_with_what_to_do(server: Server) -> None:
    watches = ERRNOS["epoll_ctl"].index(errno.ENOSPC)
    with (
        a_failing_lane(a_snapshot([server.address], connect_timeout=10.0)) as (lane, failing),
        capture_logs() as said,
    ):
        for number in range(1, 10):
            failing.arm(number, watches, only="epoll_ctl")
            guest = Guest(lane, b"a", b"e")
            guest.finish()
    reasons = {one["reason"] for one in said if one["event"] == "session_broken_off"}
    assert reasons == {"the user is out of epoll watches; raise fs.epoll.max_user_watches"}


def test_a_pipe_that_a_limit_has_made_small_is_replaced_once_there_is_room(server: Server) -> None:
    """Until then no session is given a thread of its own: it would be slower there (fs.pipe-user-pages-soft)."""
    with a_failing_lane(a_snapshot([server.address], connect_timeout=10.0)) as (lane, failing):
        mover = lane.lane.thread._mover

        def take_another() -> None:
            mover._conduit.close()
            mover._conduit = mover._pool.take()

        failing.arm(1, ERRNOS["F_SETPIPE_SZ"].index(errno.EPERM), 1 << 20, only="F_SETPIPE_SZ")
        lane.run(take_another)
        assert mover.step_size < SHARED.step
        guest = Guest(lane, b"a", b"u")
        for _ in range(64):
            guest.read(_MUCH)
        assert not lane.total(Count.ALONE)
        failing.disarm()
        eventually(lambda: guest.read(_MUCH) and lane.total(Count.ALONE), "it has a thread of its own")
        assert mover.step_size == SHARED.step
        guest.sock.close()
