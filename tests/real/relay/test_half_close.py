"""Sessions that may not be half closed: the first end of either side, after all it has said, is that of both."""

from __future__ import annotations

import select
import socket
import threading
import time
from itertools import product

import pytest

from kubelb.relay.session import End, Session
from tests.real.relay.rig import BLOB, SMALL, Link, Rig, connection, digest, fill, is_reset, read_to_the_end


def whole(room: int | None = None) -> Link:
    (client, near_client), (server, near_server) = connection(room), connection(room)
    session = Session(near_client, near_server, 1, time.monotonic(), about=object(), half_close=False)
    return Link(session, client, server)


def stuff(sock: socket.socket) -> int:
    """Send until nobody has taken any more for a while: so many bytes."""
    sent, poller = 0, select.poll()
    poller.register(sock, select.POLLOUT)
    while poller.poll(200):
        sent += fill(sock, memoryview(BLOB)[sent:])
    assert sent < len(BLOB)
    return sent


@pytest.mark.parametrize(
    ("zero_copy", "share", "client_first"), list(product([True, False], [True, False], [True, False]))
)
class TestFirstEnd:
    def test_of_all_that_was_said(self, zero_copy: bool, share: bool, client_first: bool) -> None:
        with Rig(zero_copy, share) as rig:
            link = rig.adopt(whole())
            one = link.client if client_first else link.server

            def speak() -> None:
                one.sendall(BLOB)
                one.shutdown(socket.SHUT_WR)

            speaker = threading.Thread(target=speak)
            speaker.start()
            assert digest(read_to_the_end(link.other(one))) == digest(BLOB)
            speaker.join()
            assert read_to_the_end(one) == b""
            assert rig.end_of(link) is End.CLOSED
            assert sum(rig.moved(link)) == len(BLOB)

    def test_of_one_who_does_not_listen(self, zero_copy: bool, share: bool, client_first: bool) -> None:
        """What is held back for it is left, and it is told of no fault; who has said it learns that it is lost."""
        with Rig(zero_copy, share) as rig:
            link = rig.adopt(whole(SMALL))
            one = link.client if client_first else link.server
            other = link.other(one)
            sent = stuff(other)
            one.sendall(b"bye")
            one.shutdown(socket.SHUT_WR)
            assert rig.end_of(link) is End.CLOSED
            heard = read_to_the_end(one)
            assert len(heard) < sent
            assert digest(heard) == digest(BLOB[: len(heard)])
            assert other.recv(3) == b"bye"
            assert is_reset(other)
