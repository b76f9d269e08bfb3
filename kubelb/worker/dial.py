"""Connects an accepted client to a server: each is tried at most once, and all in the time that the listener allows.

Runs on its relay thread, as connects complete: the sockets are non-blocking and no thread waits for a server that
does not answer. Beside one that keeps it waiting another is tried (:mod:`kubelb.worker.dialplan` says when), and the
first to answer gets the client. A dial owns the client's socket and those of the servers it is trying, until it hands
two of them on as a session or closes them: the client's with a reset where no server is left, so that it knows.
"""

from __future__ import annotations

import errno
import math
import select
import time
from collections.abc import Callable
from contextlib import suppress
from socket import SocketType
from typing import Final, NamedTuple

from kubelb import log
from kubelb.config.variables import Client, Opening, Try, address_text
from kubelb.own_limits import EXHAUSTED, OWN, own_reason
from kubelb.proxyproto import encode
from kubelb.relay.session import Session, close
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Listener, Server, target
from kubelb.worker.abandon import abandoned_by_faults, give_up
from kubelb.worker.books import Books, Visit
from kubelb.worker.client_hello import HANDSHAKE
from kubelb.worker.dialplan import Start, Step, Wait, may_retry, most_tries, next_step, patience
from kubelb.worker.manner import CannotBind, Manner
from kubelb.worker.second_chance import Newcomer, SecondChances
from kubelb.worker.sockets import connection, reset
from kubelb.worker.view import PoolView

_PENDING = frozenset({errno.EINPROGRESS, errno.EALREADY})
_NO_RATES = (0, 0)
_HANDSHAKE: Final = bytes([HANDSHAKE])
_RETRY = 0.1
"""Seconds between two looks whether a descriptor is free again."""


class _Attempt(NamedTuple):
    """A server that has not answered yet; a place on it is claimed."""

    server: Server
    sock: SocketType
    begun: float


class Dial:
    """One client on its way to a server; ``wheel_key`` is the relay thread's."""

    _tried: tuple[int, ...] = ()
    """The slots of servers."""
    _tries: tuple[Try, ...] = ()
    _waiting: tuple[_Attempt, ...] = ()
    _waited = False
    _client_watched = False
    wheel_key = 0

    def __init__(
        self,
        client: SocketType,
        who: Client,
        listener: Listener,
        view: PoolView,
        thread: RelayThread,
        books: Books,
        exhausted: Callable[[str], None],
        manner: Manner | None = None,
        chances: SecondChances | None = None,
    ) -> None:
        """``exhausted`` is told what of ours ran out; ``manner`` is the listener's; ``chances`` are those of its
        relay thread, if there are any."""
        self._client = client
        self._from = who
        self._listener = listener
        self._view = view
        self._thread = thread
        self._books = books
        self._exhausted = exhausted
        self._manner = manner
        self._chances = chances
        self._most = most_tries(listener, view.usable)
        """So many servers are tried."""
        self._begun = thread.now

    @abandoned_by_faults
    def begin(self) -> None:
        """Once; from then on the dial goes on by itself until it is over."""
        if self._manner is not None:
            self._manner.receive(self._client)
        if self._start():
            self._thread.set_deadline(self, patience(self._listener, self._most))

    def _start(self) -> bool:
        """Try servers until one is being waited for; False: one has accepted, or there is none to be tried now."""
        view, now = self._view.newest(), self._thread.now
        self._view = view
        while (
            len(self._tried) < self._most and (server := view.pick_another(self._from, self._tried, now)) is not None
        ):
            try:
                code = self._try(server, now)
            except CannotBind as error:
                view.release(server)
                self._cannot_bind(error)
                return False
            except Exception:
                view.release(server)
                raise
            if not code:
                return False
            if code in EXHAUSTED:
                view.release(server)
                self._wait_for_room(code)
                return False
            self._tried = (*self._tried, server.slot)
            if code in _PENDING:
                return True
            self._failed(server, now, code)
        if self._waiting:
            self._wait_until(self._begun + self._listener.connect_timeout)
        else:
            self._refuse()
        return False

    def _try(self, server: Server, now: float) -> int:
        """Begin to connect, as :meth:`_connect`. The place on the server is the caller's if this raises anything."""
        try:
            sock = connection(server.address)
        except OSError as error:
            return error.errno or errno.EIO
        try:
            if self._manner is not None:
                self._manner.receive(sock)
                self._manner.bind(sock, self._from)
            return self._connect(server, sock, now)
        except BaseException:
            close(sock)
            raise

    def _cannot_bind(self, error: CannotBind) -> None:
        log.limited().error("bind_failed", listener=self._listener.address, reason=str(error))
        self._leave_servers(least=math.inf)
        # As in nginx: one without a name.
        self._tries = (*self._tries, Try("", self._thread.now, 0.0))
        self._turn_away("cannot_bind", 500)

    def _connect(self, server: Server, sock: SocketType, now: float) -> int:
        """Begin to connect: 0 if that is done at once, one of _PENDING, or the errno of the failure."""
        # A server on this machine has answered by the time connect() returns; asking again tells, and saves a poll.
        begun = time.monotonic()
        address = target(server.address)
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            code = sock.connect_ex(address)
        if code == 0:
            # The thread's clock stands still meanwhile.
            self._connected(server, sock, now, time.monotonic() - begun)
        elif code in _PENDING:
            self._waited = True
            self._thread.watch(sock.fileno(), select.EPOLLOUT, self._answered)
            self._waiting = (*self._waiting, _Attempt(server, sock, now))
        else:
            close(sock)
        return code

    @abandoned_by_faults
    def _answered(self, mask: int) -> None:
        """A server has, well or badly."""
        self._look()

    @abandoned_by_faults
    def expired(self) -> None:
        """As the relay thread's deadline. A busy thread may have had no time for an answer that has come."""
        self._look()

    def _look(self) -> None:
        """Take note of the answers that have come, and do what is next."""
        failed = False
        for attempt in self._waiting:
            code = attempt.sock.connect_ex(target(attempt.server.address))
            if code in _PENDING:
                continue
            self._thread.unwatch(attempt.sock.fileno())
            self._waiting = tuple(other for other in self._waiting if other is not attempt)
            if code == 0:
                self._take(attempt)
                return
            self._close(attempt.sock)
            self._failed(attempt.server, attempt.begun, code)
            failed = True
        self._go_on(failed)

    def _take(self, attempt: _Attempt) -> None:
        try:
            self._connected(attempt.server, attempt.sock, attempt.begun, self._thread.now - attempt.begun)
        except Exception:
            self._view.release(attempt.server)
            close(attempt.sock)
            raise

    def _go_on(self, failed: bool) -> None:
        """``failed``: one of the servers just has."""
        step = self._next_step(failed)
        while isinstance(step, Start):
            if not self._start():
                return
            step = self._next_step(False)
        if isinstance(step, Wait):
            self._wait_until(step.until)
        else:
            self._leave_servers(least=0)
            self._refuse()

    def _next_step(self, failed: bool) -> Step:
        begun = [attempt.begun for attempt in self._waiting]
        tried, now = len(self._tried), self._thread.now
        return next_step(self._listener, self._most, tried, self._begun, begun, now, failed)

    def _wait_until(self, then: float) -> None:
        """This takes its time: meanwhile the client may give up. (That it has sent all it had to say is no reset.)"""
        thread = self._thread
        thread.set_deadline(self, then - thread.now)
        self._waited = True
        if not self._client_watched:
            thread.watch(self._client.fileno(), 0, self._client_reset)
            self._client_watched = True

    def _wait_for_room(self, code: int) -> None:
        """Descriptors or memory ran out: others may give some back in time."""
        self._exhausted(own_reason(code))
        self._wait_until(min(self._thread.now + _RETRY, self._begun + self._listener.connect_timeout))

    @abandoned_by_faults
    def _client_reset(self, mask: int) -> None:
        self._leave_servers(least=math.inf)
        self._leave_thread()
        self._tell("client_left", 200)
        close(self._client)
        self._books.gave_up(self._from)

    def abandon(self) -> None:
        """As :class:`~kubelb.worker.abandon.Stage`."""
        self._leave_servers(least=math.inf)
        self._leave_thread()
        give_up(self._client, self._books, self._from.counted_as)

    def _connected(self, server: Server, sock: SocketType, begun: float, seconds: float) -> None:
        """The session is the relay thread's from now on; adopting it raises nothing."""
        self._thread.adopt(self._session(server, sock, begun, seconds))

    def _session(self, server: Server, sock: SocketType, begun: float, seconds: float) -> Session:
        thread, listener = self._thread, self._listener
        if self._waited:
            self._leave_servers(least=patience(listener, self._most))
            self._leave_thread()
        self._view.passed(server, begun, seconds)
        header = self._introduce(sock) if listener.send_proxy_protocol else 0
        opening = None
        if self._books.journal is not None:
            self._tries = (*self._tries, Try(address_text(server.address), begun, seconds, True, header))
            opening = self._opening()
        who, now = self._from, thread.now
        visit = Visit(who.remote, listener, server, now, opening, who.counted_as)
        options = self._view.liveness if server.address[1] else ()
        rates = _NO_RATES if self._manner is None else self._manner.rates(who)
        session = Session(
            self._client,
            sock,
            server.slot,
            now,
            listener.idle_timeout,
            visit,
            options,
            rates,
            listener.half_close,
            listener.half_close_timeout,
        )
        if self._chances is not None and self._most > 1 and rates == _NO_RATES:
            session.on_first_bytes = self._client_spoke
        return session

    def _client_spoke(self, session: Session, data: bytes) -> None:
        """What it says first may be something that another server can be asked too, if its own says nothing."""
        assert self._chances is not None
        if data[:1] == _HANDSHAKE and session.down.first_at is None:
            tried = {*self._tried, session.slot}
            told = session, data, self._from, self._listener, self._view, self._manner, tried, self._most, self._begun
            self._chances.offer(Newcomer(*told))

    def _introduce(self, sock: SocketType) -> int:
        """Tell a server who comes, in so many bytes; a new connection has room for them."""
        with suppress(OSError):  # It is broken already, which the relay will find out too.
            return sock.send(encode(self._from.remote, self._from.local))
        return 0

    def _refuse(self) -> None:
        now = self._thread.now
        if len(self._tried) < self._most and may_retry(self._listener, self._begun, now):
            # As in nginx: the pool itself stands for a server that was wanted and not there.
            self._tries = (*self._tries, Try(self._view.pool.name, now, 0.0))
        self._turn_away("no_server", 502)
        log.limited().debug(
            "no_server", pool=self._view.pool.name, client=self._from.remote[0], tried=len(self._tried)
        )

    def _turn_away(self, end: str, status: int) -> None:
        if self._waited:
            self._leave_thread()
        self._tell(end, status)
        self._books.turned_away(self._from)
        reset(self._client)

    def _tell(self, end: str, status: int) -> None:
        """The access log, of a client who got no server."""
        if self._books.journal is not None:
            self._books.journal.unserved(self._listener, self._opening(), end, status)

    def _opening(self) -> Opening:
        return Opening(self._from, self._from.accepted_at, tuple(sorted(self._tries, key=lambda one: one.began_at)))

    def _failed(self, server: Server, begun: float, code: int) -> None:
        self._note_try(server, begun)
        self._view.release(server)
        if code in OWN:
            self._tell_own_limit(server, code)
            return
        self._view.connect_failed(server, self._thread.now, code)

    def _tell_own_limit(self, server: Server, code: int) -> None:
        """It says nothing of the server."""
        log.limited().warning(
            "connect_impossible", pool=self._view.pool.name, server=server.name, reason=own_reason(code)
        )

    def _leave_servers(self, least: float) -> None:
        """Wait for none of them any more; those that had at least so many seconds to answer have failed."""
        now = self._thread.now
        for server, sock, begun in self._waiting:
            self._thread.unwatch(sock.fileno())
            self._close(sock)
            self._note_try(server, begun)
            self._view.release(server)
            if now - begun >= least:
                self._view.unanswered(server, now, begun)
        self._waiting = ()

    def _note_try(self, server: Server, begun: float) -> None:
        """One that came to nothing, or was not waited for any more."""
        self._tries = (*self._tries, Try(address_text(server.address), begun, self._thread.now - begun))

    def _close(self, sock: SocketType) -> None:
        # Only after this poll's events: one of them may be the socket's, and a new one would get its descriptor.
        self._thread.post(lambda: close(sock))

    def _leave_thread(self) -> None:
        self._thread.drop_deadline(self)
        if self._client_watched:
            self._thread.unwatch(self._client.fileno())
