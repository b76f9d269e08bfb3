"""A relay thread for a test, and sessions on it whose far ends the test holds, over TCP on the loopback."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from types import TracebackType

from kubelb.relay.session import End, Flow, LimitedFlow, Session
from kubelb.relay.thread import RelayThread
from tests.support.deadlines import standing
from tests.support.eventually import eventually

DEADLINE = 30.0
"""Seconds after which an end gives up waiting for the other."""
SMALL = 16 << 10
"""Room for bytes that nobody reads, in each direction of each connection."""
LARGE = 1 << 20
"""The same, but enough for what makes a session bulk."""
_PIECE = 1 << 20
BLOB = random.Random(0).randbytes(8 << 20)
"""Bytes to send; any two stretches of it differ."""


def digest(data: bytes | bytearray | memoryview) -> tuple[int, str]:
    """What is compared, and shown when it differs."""
    return len(data), blake2b(data).hexdigest()[:16]


def connection(room: int | None) -> tuple[socket.socket, socket.socket]:
    """The far end, the test's, which may wait, and the near end, the relay's, which does not.

    ``room`` None: as much as the system thinks good. It is set from the beginning: TCP stalls for long when a window
    shrinks.
    """
    with socket.socket() as listener:
        far = socket.socket()
        for sock in (listener, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if room is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        far.settimeout(DEADLINE)
        far.connect(listener.getsockname())
        near, _ = listener.accept()
    near.setblocking(False)
    return far, near


def fill(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send as much as the system takes without waiting for a reader: so many bytes."""
    sent = 0
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while sent < len(data):
            sent += sock.send(memoryview(data)[sent : sent + (64 << 10)])
    sock.settimeout(DEADLINE)
    return sent


def read_to_the_end(sock: socket.socket, received: bytearray | None = None) -> bytearray:
    """``received`` with what still comes. Raises :class:`ConnectionResetError` when it ends otherwise."""
    received = bytearray() if received is None else received
    while piece := sock.recv(64 << 10):
        received += piece
    return received


def is_reset(sock: socket.socket) -> bool:
    """Whether it ends with that, and not orderly."""
    try:
        read_to_the_end(sock)
    except ConnectionResetError:
        return True
    return False


@dataclass(frozen=True)
class Link:
    """A session and its far ends."""

    session: Session
    client: socket.socket
    server: socket.socket

    @classmethod
    def make(
        cls, room: int | None = None, idle_timeout: float | None = None, half_close_timeout: float | None = None
    ) -> Link:
        (client, near_client), (server, near_server) = connection(room), connection(room)
        session = Session(
            near_client,
            near_server,
            1,
            time.monotonic(),
            idle_timeout,
            about=next(_numbers),
            half_close_timeout=half_close_timeout,
        )
        return cls(session, client, server)

    def flow_from(self, far: socket.socket) -> Flow:
        return self.session.up if far is self.client else self.session.down

    def other(self, far: socket.socket) -> socket.socket:
        return self.server if far is self.client else self.client

    @property
    def is_alone(self) -> bool:
        """Whether it has a thread of its own now."""
        name = f"alone-{self.session.up.src}"
        return any(thread.name == name for thread in threading.enumerate())

    def block(self, far: socket.socket, data: bytes | memoryview) -> int:
        """Send until the relay holds back what the other end does not read: so many bytes."""
        flow, sent = self.flow_from(far), 0

        def blocked() -> bool:
            nonlocal sent
            sent += fill(far, memoryview(data)[sent:])
            return flow.held is not None

        eventually(blocked, "the flow is blocked")
        return sent

    def close(self) -> None:
        self.client.close()
        self.server.close()


_numbers = count()


class Book:
    """A ledger that remembers."""

    def __init__(self) -> None:
        self.up: Counter[object] = Counter()
        self.down: Counter[object] = Counter()
        self.ends: dict[object, list[End]] = {}

    def moved(self, session: Session) -> None:
        up, down = session.uncounted()
        self.up[session.about] += up
        self.down[session.about] += down

    def ended(self, session: Session, end: End) -> None:
        self.moved(session)
        self.ends.setdefault(session.about, []).append(end)


class Rig:
    """A relay thread that runs while the context is entered. It owns the near ends, the context the far ones."""

    def __init__(self, zero_copy: bool = True, share: bool = True) -> None:
        self.book = Book()
        self.thread = RelayThread(self.book, zero_copy=zero_copy, share=share)
        self._runner = threading.Thread(target=self.thread.run, name="relay")
        self._stopped = False
        self._links: list[Link] = []

    def __enter__(self) -> Rig:
        self._runner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            link.close()
        try:
            eventually(
                lambda: all(link.session.about in self.book.ends for link in self._links), "all sessions ended"
            )
        finally:
            self.stop()
        assert not [one for one in standing(self.thread) if isinstance(one, Session | LimitedFlow)]

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self.thread.stop()
            self._runner.join()
            self.thread.close()

    def open(
        self, room: int | None = None, idle_timeout: float | None = None, half_close_timeout: float | None = None
    ) -> Link:
        return self.adopt(Link.make(room, idle_timeout, half_close_timeout))

    def adopt(self, link: Link) -> Link:
        self._links.append(link)
        self.thread.post(lambda: self.thread.adopt(link.session))
        return link

    def end_of(self, link: Link) -> End:
        """How the session ended, once it has; told once."""
        (end,) = eventually(lambda: self.book.ends.get(link.session.about), "the session has ended")
        return end

    def moved(self, link: Link) -> tuple[int, int]:
        """Bytes up and down in the books."""
        return self.book.up[link.session.about], self.book.down[link.session.about]

    def run(self, call: Callable[[], None]) -> None:
        """Have the relay thread do this, and wait until it has."""
        done = threading.Event()
        self.thread.post(call)
        self.thread.post(done.set)
        assert done.wait(DEADLINE)

    def promote(self, link: Link) -> int:
        """Send bytes up until the session has a thread of its own: so many."""
        sent, received = blake2b(), blake2b()
        totals = {"sent": 0, "received": 0}

        def pump() -> bool:
            with suppress(BlockingIOError):
                at = totals["sent"] % _PIECE
                moved = link.client.send(BLOB[at:_PIECE])
                sent.update(BLOB[at : at + moved])
                totals["sent"] += moved
            with suppress(BlockingIOError):
                piece = link.server.recv(_PIECE)
                received.update(piece)
                totals["received"] += len(piece)
            return link.is_alone

        for sock in (link.client, link.server):
            sock.setblocking(False)
        eventually(pump, "the session is taken to a thread of its own")
        for sock in (link.client, link.server):
            sock.settimeout(DEADLINE)
        while totals["received"] < totals["sent"]:
            piece = link.server.recv(_PIECE)
            received.update(piece)
            totals["received"] += len(piece)
        assert received.digest() == sent.digest()
        return totals["sent"]
