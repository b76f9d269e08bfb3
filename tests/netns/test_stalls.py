"""A relay thread whose servers vanish and return, in a network of the test's own: what it tells of its sessions."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import pytest

from kubelb.relay.session import Session
from kubelb.relay.tcp_info import tcp_info
from kubelb.stats import Count
from kubelb.wire.messages import Stalled
from tests.support.backlog import backlogged
from tests.support.eventually import eventually
from tests.support.lanes import DEADLINE, LONG, RunningLane, a_lane, a_snapshot
from tests.support.netns import Network

pytestmark = pytest.mark.netns

GONE, WELL = 0, 1


class Rig:
    """A relay thread in the node, and a session to each of two servers."""

    def __init__(self, lane: RunningLane, listening: list[socket.socket], clients: list[socket.socket]) -> None:
        """The clients are connected, in the order of the servers."""
        self.lane = lane
        self.clients = clients
        self._listening = listening
        self.servers = [self.accept(number) for number in range(len(listening))]

    def accept(self, number: int) -> socket.socket:
        """The server's end of the next session."""
        server, _ = self._listening[number].accept()
        server.settimeout(DEADLINE)
        return server

    def sessions(self, number: int) -> list[Session]:
        """Of a server, the newest last."""
        return [session for session in self.lane.lane.thread.sessions() if session.slot == number + 1]

    def ask(self, number: int) -> None:
        self.clients[number].sendall(b"?")

    def answer(self, number: int) -> None:
        assert self.servers[number].recv(1) == b"?"
        self.servers[number].sendall(b"!")
        assert self.clients[number].recv(1) == b"!"

    def stalls(self, number: int) -> list[Stalled]:
        return [stalled for stalled in self.lane.stalls if stalled.slot == number + 1]

    def retransmissions(self, number: int) -> list[int]:
        return [stalled.retransmissions for stalled in self.stalls(number) if not stalled.acknowledged]


@contextmanager
def a_rig(network: Network, **settings: Any) -> Iterator[Rig]:
    with ExitStack() as stack:
        listening = []
        for number in (GONE, WELL):
            with network.servers[number].entered():
                listening.append(stack.enter_context(socket.create_server((network.hosts[number], 0))))
        snapshot = a_snapshot([sock.getsockname() for sock in listening], **settings)
        with network.node.entered():
            lane = stack.enter_context(a_lane(snapshot))
            clients = [stack.enter_context(lane.connect()) for _ in listening]
        for sock in listening:
            sock.settimeout(DEADLINE)
        rig = Rig(lane, listening, clients)
        for server in rig.servers:
            stack.enter_context(server)
        for number in (GONE, WELL):
            rig.ask(number)
            rig.answer(number)
        yield rig


def test_a_server_that_vanishes_with_bytes_under_way_is_told_of_ever_more_gravely(network: Network) -> None:
    with a_rig(network) as rig:
        with network.powered_off(GONE):
            before = time.monotonic()
            rig.ask(GONE)
            eventually(lambda: max(rig.retransmissions(GONE), default=0) >= 4, "it is told again and again")
            told = rig.stalls(GONE)
            counts = rig.retransmissions(GONE)
            assert counts == sorted(counts)
            assert len(set(counts)) > 1
            assert len({stalled.since for stalled in told}) == 1
            assert before <= told[0].since <= told[0].at
            assert not any(stalled.acknowledged for stalled in told)
            assert all(later.at - earlier.at >= 0.1 for earlier, later in pairwise(told))
            assert max(rig.lane.count(Count.HEARD_AT)[GONE], 1) < told[0].since * 1e9
            rig.ask(WELL)
            rig.answer(WELL)
            assert not rig.stalls(WELL)
        rig.answer(GONE)
        eventually(lambda: rig.lane.count(Count.HEARD_AT)[GONE] > told[-1].at * 1e9, "it is heard of")


def test_a_server_that_vanishes_while_a_session_waits_for_its_answer(network: Network) -> None:
    """What was asked first it has acknowledged: the wait for that is none of the other kind."""
    with a_rig(network) as rig:
        rig.ask(GONE)
        eventually(lambda: rig.stalls(GONE), "it waits")
        with network.powered_off(GONE):
            before = time.monotonic()
            rig.ask(GONE)
            eventually(lambda: max(rig.retransmissions(GONE), default=0) >= 2, "it is told")
            unacknowledged = [stalled for stalled in rig.stalls(GONE) if not stalled.acknowledged]
            assert all(stalled.since >= before for stalled in unacknowledged)
        rig.servers[GONE].sendall(b"!")
        assert rig.clients[GONE].recv(1) == b"!"


def test_bytes_that_were_waiting_to_be_read_are_no_sign_of_a_server_that_has_vanished(network: Network) -> None:
    """Another session of it has a client that is slow."""
    with a_rig(network) as rig, network.node.entered(), rig.lane.connect() as slow:
        slow.sendall(b"?")
        server = rig.accept(GONE)
        with server:
            eventually(lambda: len(rig.sessions(GONE)) == 2, "the session has begun")
            session = rig.sessions(GONE)[-1]
            sent = backlogged(session, server, 8 << 10)
            with network.powered_off(GONE):
                before = time.monotonic()
                rig.ask(GONE)
                eventually(lambda: max(rig.retransmissions(GONE), default=0) >= 2, "it is told")
                while sent:
                    sent -= len(slow.recv(1 << 20))
                eventually(lambda: session.down.moved_at > before, "it is moved")
                eventually(lambda: max(rig.retransmissions(GONE)) >= 4, "it is told again")
                # The kernel knows to a tick of its own when bytes came.
                assert rig.lane.count(Count.HEARD_AT)[GONE] < (before + 0.1) * 1e9
            rig.answer(GONE)


def test_a_server_that_acknowledges_and_says_nothing_is_told_of_as_that(network: Network) -> None:
    with a_rig(network) as rig, network.powered_off(WELL):
        rig.ask(GONE)
        eventually(lambda: len(rig.stalls(GONE)) >= 2, "it is told, and again")
        assert all(stalled.acknowledged for stalled in rig.stalls(GONE))
        assert rig.lane.count(Count.ACKED_AT)[GONE] > rig.lane.count(Count.HEARD_AT)[GONE]


def test_a_server_that_vanishes_while_nobody_asks_is_found_by_keepalive(network: Network) -> None:
    with a_rig(network, keepalive=1, user_timeout=LONG) as rig:
        eventually(lambda: not any(session.lasting for session in rig.sessions(GONE)), "it lasts")
        with network.powered_off(GONE):
            before = time.monotonic()
            eventually(lambda: max(rig.retransmissions(GONE), default=0) >= 2, "it is told, and again")
            assert not rig.stalls(WELL)
            counts = rig.retransmissions(GONE)
            assert counts == sorted(counts)
            assert all(before - 0.1 <= stalled.since <= stalled.at for stalled in rig.stalls(GONE))
        (gone,) = rig.sessions(GONE)

        def answers() -> bool:
            info = tcp_info(gone.server)
            return info is not None and not info.probes

        eventually(answers, "it is there again")


def test_answers_to_keepalive_are_signs_of_life(network: Network) -> None:
    """Of sessions on which nothing moves."""
    with a_rig(network, keepalive=1, user_timeout=LONG) as rig:
        before = time.monotonic_ns()
        signs = eventually(lambda: rig.lane.count(Count.ACKED_AT)[WELL] > before, "it has answered")
        assert signs
        assert not rig.lane.stalls
