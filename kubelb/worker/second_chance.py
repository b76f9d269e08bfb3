"""Gives a client whose server does not answer its TLS ClientHello a second server beside that one.

A server that accepts nobody any more (accept(2) fails for want of descriptors, its process hangs) is still connected
to by its kernel: dialling finds nothing wrong, and the client waits. What it has said is the one thing that may be
said twice, to another server too (:mod:`kubelb.worker.client_hello`); nothing else ever is. So after the listener's
``hedge_delay`` of silence the hello is sent to another server, and whichever of the two speaks first has the client.
One that answers with anything but a handshake of its own, such as an alert, has not spoken. A second server that is
silent for as long makes room for a third. Where the first server loses it has failed like one that did not accept.

Only clients that are silent themselves meanwhile can be taken elsewhere: bytes that come behind a hello are the first
server's, and so is a session that is lent to a thread of its own or handed to another worker. Under overload every
server is late, so a budget bounds how many have a second chance (:mod:`kubelb.worker.retry_budget`).

Runs on the relay thread that holds the sessions. It owns the sockets of the second servers until one of them is the
session's; a limit of our own that is met here costs the second chance and leaves the session where it is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import msgspec

from kubelb import log
from kubelb.config.variables import Client, Opening, Try, address_text
from kubelb.own_limits import OWN
from kubelb.proxyproto import encode
from kubelb.relay.flow import State
from kubelb.relay.session import Session, close, reset_on_close
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Listener, Server
from kubelb.stats import Count
from kubelb.worker.books import Visit
from kubelb.worker.client_hello import is_lone_hello
from kubelb.worker.dialplan import may_retry
from kubelb.worker.manner import CannotBind, Manner
from kubelb.worker.retry_budget import RetryBudget
from kubelb.worker.second_server import SecondServer
from kubelb.worker.view import PoolView

_LOOK: Final = 0.1
"""Seconds between two looks at the clients that wait."""
_OVER: Final = 10.0
"""Seconds after which no other server is tried: most clients have given up by then (Go's ``TLSHandshakeTimeout``)."""
_MOST: Final = 1000
"""So many wait at a time; a look at a thousand takes less than a millisecond. The others have no second chance."""
_OPEN = State.OPEN


class _Attempt(NamedTuple):
    """A second server that has not answered; a place on it is claimed."""

    server: Server
    view: PoolView
    connection: SecondServer
    header: int
    """Bytes that it is told before the hello."""


class Newcomer:
    """A client that has said something like a hello, and whose server has not answered yet."""

    __slots__ = (
        "attempt", "begun", "due", "hello", "listener", "manner", "most", "session", "spoke_at", "tried", "tries",
        "view", "who",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        hello: bytes,
        who: Client,
        listener: Listener,
        view: PoolView,
        manner: Manner | None,
        tried: set[int],
        most: int,
        begun: float,
    ) -> None:
        """``tried`` are the slots of the servers it had, of which there may be ``most``; it was dialled for from
        ``begun`` on."""
        self.session = session
        self.hello = hello
        self.who = who
        self.listener = listener
        self.view = view
        self.manner = manner
        self.tried = tried
        self.most = most
        self.begun = begun
        self.spoke_at = self.due = 0.0
        self.attempt: _Attempt | None = None
        self.tries: tuple[Try, ...] = ()
        """The second servers that came to nothing."""


class SecondChances:
    """Those of one relay thread; ``wheel_key`` is the thread's."""

    def __init__(self, thread: RelayThread) -> None:
        self._thread = thread
        self._budget = RetryBudget()
        self._waiting: list[Newcomer] = []
        self._came = 0
        """Clients since the last look."""
        self.wheel_key = 0

    def offer(self, newcomer: Newcomer) -> None:
        """Look after a client from now on; what it has said is just about to be moved."""
        newcomer.spoke_at = self._thread.now
        newcomer.due = newcomer.spoke_at + newcomer.listener.hedge_delay
        self._came += 1
        if not self._waiting:
            self._thread.set_deadline(self, _LOOK)
        if len(self._waiting) < _MOST:
            self._waiting.append(newcomer)

    def expired(self) -> None:
        """As the relay thread's deadline: a look at all that wait."""
        self._budget.came(self._came, self._thread.now)
        self._came = 0
        # Most have their answer by now, and cost no more than this.
        unanswered = [one for one in self._waiting if one.session.down.first_at is None or one.attempt is not None]
        self._waiting = [one for one in unanswered if self._contained(one, partial(self._look, one))]
        if self._waiting:
            self._thread.set_deadline(self, _LOOK)

    def _contained(self, newcomer: Newcomer, step: Callable[[], bool]) -> bool:
        """Whether it goes on waiting, as the step says; a fault of our own ends its second chance."""
        try:
            goes_on = step()
        except Exception:
            log.limited().exception("internal_error")
            goes_on = False
        if not goes_on:
            self._leave(newcomer)
        return goes_on

    def _look(self, newcomer: Newcomer) -> bool:
        now = self._thread.now
        if now - newcomer.spoke_at >= _OVER or not self._is_silent(newcomer):
            return False
        if now < newcomer.due or not self._budget.has_room(now):
            return True
        return self._try_another(newcomer, now) or newcomer.attempt is not None

    def _is_silent(self, newcomer: Newcomer) -> bool:
        """Whether its server has said nothing, and has been told the hello and nothing else."""
        up, down = newcomer.session.up, newcomer.session.down
        is_held = self._thread.holds(newcomer.session)
        return is_held and down.first_at is None and up.state is _OPEN and up.moved == len(newcomer.hello)

    def _try_another(self, newcomer: Newcomer, now: float) -> bool:
        """Whether there was one to be tried."""
        allowed = len(newcomer.tried) < newcomer.most and may_retry(newcomer.listener, newcomer.begun, now)
        if not allowed or not is_lone_hello(newcomer.hello):
            return False
        connection, header = self._prepared(newcomer)
        view = newcomer.view.newest()
        server = view.pick_another(newcomer.who, newcomer.tried, now)
        if server is None:
            return False
        self._budget.spend(now)
        self._give_up_slow(newcomer)
        newcomer.attempt = _Attempt(server, view, connection, header)
        newcomer.tried.add(server.slot)
        newcomer.due = now + newcomer.listener.hedge_delay
        self._dial(newcomer, newcomer.attempt)
        return True

    def _prepared(self, newcomer: Newcomer) -> tuple[SecondServer, int]:
        """A connection to be, and how many bytes it is told before the hello."""
        who = newcomer.who
        header = encode(who.remote, who.local) if newcomer.listener.send_proxy_protocol else b""
        spoke, failed = partial(self._spoke, newcomer), partial(self._failed, newcomer)
        return SecondServer(self._thread, header + newcomer.hello, spoke, failed), len(header)

    def _dial(self, newcomer: Newcomer, attempt: _Attempt) -> None:
        try:
            attempt.connection.dial(attempt.server.address, newcomer.who, newcomer.manner)
        except CannotBind:
            self._failed(newcomer, 0)
        except OSError as error:
            self._failed(newcomer, error.errno or errno.EIO)

    def _failed(self, newcomer: Newcomer, code: int) -> None:
        """The second server has: another is tried at the next look."""
        attempt = newcomer.attempt
        assert attempt is not None
        self._leave(newcomer)
        newcomer.due = self._thread.now
        if code and code not in OWN:
            attempt.view.connect_failed(attempt.server, self._thread.now, code)

    def _give_up_slow(self, newcomer: Newcomer) -> None:
        """There is another to be tried. One that did not even accept is no good for others either."""
        attempt = newcomer.attempt
        self._leave(newcomer)
        if attempt is not None and attempt.connection.accepted_in is None:
            attempt.view.unanswered(attempt.server, self._thread.now, attempt.connection.begun)

    def _leave(self, newcomer: Newcomer) -> None:
        """Wait for its second server no more, if it has one."""
        attempt, newcomer.attempt = newcomer.attempt, None
        if attempt is not None:
            attempt.connection.close()
            attempt.view.release(attempt.server)
            begun = attempt.connection.begun
            came_to_nothing = Try(address_text(attempt.server.address), begun, self._thread.now - begun)
            newcomer.tries = (*newcomer.tries, came_to_nothing)

    def _spoke(self, newcomer: Newcomer) -> None:
        """The second server has, and the first has not."""
        self._contained(newcomer, partial(self._change_servers, newcomer))

    def _change_servers(self, newcomer: Newcomer) -> bool:
        """The client waits no more, and has the second server unless something else has come between."""
        session, attempt = newcomer.session, newcomer.attempt
        assert attempt is not None
        if not self._is_silent(newcomer):
            return False
        successor = _successor(newcomer, attempt, self._thread.now)
        if not self._thread.let_go(session):
            return False
        newcomer.attempt = None
        attempt.connection.take()
        self._thread.adopt(successor)
        self._part(session)
        self._learn(newcomer, attempt)
        return False

    def _part(self, session: Session) -> None:
        """Let go of what is left of it, the connection to its server."""
        reset_on_close(session.server)
        # Only after this poll's events: one of them may be the socket's, and a new one would get its descriptor.
        self._thread.post(lambda: close(session.server))
        session.part()

    def _learn(self, newcomer: Newcomer, attempt: _Attempt) -> None:
        """The first server has accepted and is no good, the second one is."""
        connection = attempt.connection
        assert connection.accepted_in is not None
        attempt.view.passed(attempt.server, connection.begun, connection.accepted_in)
        first, view = _visit(newcomer.session).server, newcomer.view.newest()
        view.release(first)
        view.failed(first, self._thread.now, "accepted and did not answer", Count.UNANSWERED)


def _visit(session: Session) -> Visit:
    visit = session.about
    assert isinstance(visit, Visit)
    return visit


def _successor(newcomer: Newcomer, attempt: _Attempt, now: float) -> Session:
    """The session of the same client with its second server, which has been told the hello."""
    before, visit, listener = newcomer.session, _visit(newcomer.session), newcomer.listener
    session = Session(
        before.client,
        attempt.connection.sock,
        attempt.server.slot,
        now,
        listener.idle_timeout,
        visit._replace(server=attempt.server, opened_at=now, opening=_opening(newcomer, visit, attempt, now)),
        attempt.view.liveness if attempt.server.address[1] else (),
        half_close=listener.half_close,
        half_close_timeout=listener.half_close_timeout,
    )
    session.up.moved, session.up.first_at = before.up.moved, before.up.first_at
    session.counted = session.up.moved, 0
    return session


def _opening(newcomer: Newcomer, visit: Visit, attempt: _Attempt, now: float) -> Opening | None:
    """How it came about, with all servers that were tried; None: nobody logged that then."""
    if visit.opening is None:
        return None
    failed = [
        msgspec.structs.replace(one, accepted=False, seconds=now - one.began_at) if one.accepted else one
        for one in visit.opening.tries
    ]
    connection = attempt.connection
    accepted_in = connection.accepted_in or 0.0
    taken = Try(address_text(attempt.server.address), connection.begun, accepted_in, True, attempt.header)
    tries = sorted((*failed, *newcomer.tries, taken), key=lambda one: one.began_at)
    return msgspec.structs.replace(visit.opening, tries=tuple(tries))
