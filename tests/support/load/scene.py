"""What all clients of a load have in common: where they connect to, what they ask, and what they have seen."""

from __future__ import annotations

import errno
import itertools
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kubelb.snapshot import SocketAddress
from tests.support.load.line import BUFFER, Late, Line
from tests.support.load.records import SLOWEST, Failure, How, Plan, Shape, Wait, slowest
from tests.support.load.words import Bulk, Say, Wrong

_LARGEST = 20_000
"""Bytes of a small answer, at most."""


@dataclass
class Attempt:
    """One connection of one client, and how far it has come."""

    client: str
    began: float
    doing: str = "connecting"
    port: int = 0
    session: str | None = None
    """As its server calls it."""

    def failure(self, how: How, error: Exception) -> Failure:
        return Failure(
            client=self.client,
            how=how,
            what=str(error) or type(error).__name__,
            doing=self.doing,
            began=self.began,
            at=time.monotonic(),
            server=self.session.partition("#")[0] if self.session else None,
            port=self.port,
        )

    def hear(self, line: bytes, number: int) -> None:
        """The first line of an answer: from the session that it was before, to question ``number``. Raises
        :class:`EOFError`, :class:`Wrong`."""
        if not line:
            raise EOFError("ended before the answer")
        session, _, rest = line.decode(errors="replace").rstrip("\n").partition(" ")
        self.session = self.session or session
        if (session, rest) != (self.session, str(number)):
            raise Wrong(f"{line!r} instead of '{self.session} {number}'")


@dataclass
class Scene:
    """They count here."""

    address: SocketAddress
    plan: Plan
    failures: list[Failure] = field(default_factory=list)
    stopping: bool = False
    connections: int = 0
    requests: int = 0
    transfers: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    slow: list[Wait] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.plan.seed)
        self._numbers = itertools.count(1)

    def say(self) -> Say:
        """A question that nobody has asked before."""
        return Say(next(self._numbers), self.random.randrange(_LARGEST))

    def bulk(self, shape: Shape) -> Bulk:
        share = self.random.uniform(0.5, 1.5)
        return Bulk(next(self._numbers), int(shape.up * share), int(shape.down * share), shape.burst, shape.pause)

    def waited(self, client: str, since: float) -> None:
        """It has got its answer. The slowest are remembered."""
        self.slow.append(Wait(client, since, time.monotonic() - since))
        if len(self.slow) > 2 * SLOWEST:
            self.slow = slowest(self.slow)

    @contextmanager
    def attempt(self, client: str) -> Iterator[Attempt]:
        """What goes wrong within is a failure of the proxy, and is noted."""
        attempt = Attempt(client, time.monotonic())
        try:
            yield attempt
        except Late as error:
            self.failures.append(attempt.failure("late", error))
        except EOFError as error:
            self.failures.append(attempt.failure("ended", error))
        except Wrong as error:
            self.failures.append(attempt.failure("wrong", error))
        except (ConnectionResetError, BrokenPipeError, ConnectionAbortedError) as error:
            self.failures.append(attempt.failure("reset", error))
        except OSError as error:
            self.failures.append(attempt.failure("reset" if error.errno == errno.ENOTCONN else "refused", error))

    @contextmanager
    def line(self) -> Iterator[Line]:
        """Not yet connected."""
        sock = socket.socket()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        with Line(sock, self.plan.patience) as line:
            yield line
