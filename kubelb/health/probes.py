"""Asks a server whether it is well: over TCP, TLS, HTTP or HTTPS, without ever waiting.

Runs in control's main thread, whose loop has many tries under way at once. A try is a generator that reads from top
to bottom (connect, handshake, request, answer: :mod:`kubelb.health.steps`). It knows no time: the loop abandons what
takes too long. A socket belongs to its :class:`Attempt`; that of a good HTTP answer goes back to the
:class:`Prober`, which keeps one for the next probe, so that a server sees one handshake instead of one a second.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final

from kubelb.config.faults import printable
from kubelb.config.model.pools import Health
from kubelb.config.values import Address
from kubelb.health import http
from kubelb.health.credentials import CredentialReader, OwnFault
from kubelb.health.http import PeerFault
from kubelb.health.steps import Steps, connected, receive, require_silence, send, unconnected
from kubelb.own_limits import OWN, own_reason
from kubelb.reasons import number_of, reason
from kubelb.snapshot import SocketAddress

if TYPE_CHECKING:
    from kubelb.health.tls import ClientTls

MAX_REASON = 120
"""Characters."""
_MAX_DETAIL = 90


class Outcome(Enum):
    PASSED = auto()
    NOT_TOLD = auto()
    """It answered that it does not tell us (401): it is alive, and whether it is ready cannot be seen."""
    FORBIDDEN = auto()
    """It answered 403: the same, unless it has just started."""
    UNREADY = auto()
    """It answered properly, with a status that is not an expected one: it serves, but wants no new sessions."""
    ACCEPTED = auto()
    """It accepted a new connection, and its answer is still waited for."""
    SLOW = auto()
    """It has the connection and takes its time; its answer is still waited for."""
    REFUSED = auto()
    """It refused a new connection, so its kernel lives."""
    UNANSWERED = auto()
    """Nothing answered the request for a connection, or the network said that it cannot be reached."""
    SILENT = auto()
    """It has the connection, and no answer came in time."""
    BROKEN = auto()
    """It accepted the connection and then reset or closed it, or it does not speak TLS or HTTP as it should."""
    NOT_ASKED = auto()
    """The fault is this machine's own and says nothing about the server: an unreadable file, used-up descriptors."""


ANSWERED: Final = frozenset({Outcome.PASSED, Outcome.NOT_TOLD, Outcome.FORBIDDEN, Outcome.UNREADY})
"""The server has answered what it was asked."""
FAULTS: Final = frozenset({Outcome.REFUSED, Outcome.UNANSWERED, Outcome.SILENT, Outcome.BROKEN})
"""It has not."""
_REFUSING: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})
"""Of a connect; where the server has a path, nobody may have made that."""
_AFTER_ACCEPTING: Final = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN})
"""The connection was there and has ended, even if a connect is what tells."""


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    reason: str
    """What was seen, in one printable line of at most :data:`MAX_REASON` characters."""


class Attempt:
    """One try under way. It owns its socket until :meth:`step` has a result or it is abandoned.

    Take a :meth:`step` at once: what fails immediately has a result, and perhaps no descriptor, already.
    """

    def __init__(
        self,
        opened: Callable[[], socket.socket],
        connect: Callable[[socket.socket], Steps[None]] | None,
        talk: Callable[[socket.socket], Steps[tuple[Result, bool]]],
        keep: Callable[[socket.socket], None],
    ) -> None:
        """Without ``connect`` it is connected already. ``talk`` ends with the result, and whether the connection is
        good for more and goes to ``keep``."""
        self.kept = connect is None
        """It is on a connection that has served before, whose end says nothing about the server."""
        self.connected = connect is None
        """The server's kernel has accepted the connection."""
        self._keep = keep
        self._sock: socket.socket | None = None
        self._descriptor = -1
        self._events = 0
        self._result: Result | None = None
        self._steps = self._run(opened, connect, talk)
        self._advance()

    def fileno(self) -> int:
        """Its descriptor, or the one it had; -1: it never came to have any."""
        return self._descriptor

    @property
    def events(self) -> int:
        """What it waits for now: ``selectors.EVENT_READ``, ``EVENT_WRITE`` or both. May change with every step."""
        return self._events

    def step(self) -> Result | None:
        """Go on as far as that needs no waiting; None: it is not done. Not for one that was abandoned."""
        if self._result is None:
            self._advance()
        return self._result

    def unacknowledged(self) -> bool:
        """Whether the server's kernel has not acknowledged all that was sent. Of one that goes on."""
        assert self._sock is not None
        (left,) = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)))
        return bool(left)

    def abandon(self) -> None:
        """Close its socket. Once it has a result there is nothing to close."""
        self._steps.close()
        self._release()

    def _run(
        self,
        opened: Callable[[], socket.socket],
        connect: Callable[[socket.socket], Steps[None]] | None,
        talk: Callable[[socket.socket], Steps[tuple[Result, bool]]],
    ) -> Steps[tuple[Result, bool]]:
        self._sock = opened()
        self._descriptor = self._sock.fileno()
        if connect is not None:
            yield from connect(self._sock)
            self.connected = True
        return (yield from talk(self._sock))

    def _advance(self) -> None:
        try:
            self._events = next(self._steps)
        except StopIteration as end:
            self._result, reusable = end.value
            if reusable and self._sock is not None:
                self._keep(self._sock)
                self._sock = None
            self._release()
        except (OSError, OwnFault, PeerFault) as fault:
            self._result = Result(_outcome(fault, self.connected), _line(_words(fault)))
            self._release()

    def _release(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class Prober:
    """The probes of one server; of http and https it keeps the connection in between."""

    def __init__(self, address: SocketAddress, host: str, health: Health) -> None:
        """``host`` is the server's as configured, which the certificate and the Host header have to name unless
        ``health.server_name`` is given."""
        self._address = address if health.port is None else (address[0], health.port)
        self._health = health
        self._host = host
        self._credentials = CredentialReader(health)
        self._tls = _tls(health, self._credentials)
        self._kept: socket.socket | None = None
        self._discards = 0
        """So often have connections been given up; those that are older are not kept."""

    def begin(self) -> Attempt:
        """On the kept connection if there is one, and no file has changed that would make a new one different."""
        sock, self._kept = self._kept, None
        if sock is None:
            return self.begin_anew()
        if self._tls is not None and not self._tls.is_current(sock):
            sock.close()
            return self.begin_anew()
        return Attempt(lambda: sock, None, self._on_kept, self._keeper())

    def begin_anew(self) -> Attempt:
        """On a new connection."""
        return Attempt(self._open, self._connect, self._on_new, self._keeper())

    def discard(self) -> None:
        """Give up the kept connection, and keep none of those that attempts under way have."""
        self._discards += 1
        self.close()

    def close(self) -> None:
        """The kept connection, if any; attempts under way are for their owner to abandon."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _keeper(self) -> Callable[[socket.socket], None]:
        """Takes a connection that is begun with, or used again, now."""
        return partial(self._keep, self._discards)

    def _keep(self, discards: int, sock: socket.socket) -> None:
        if discards != self._discards:
            sock.close()
            return
        self.close()
        self._kept = sock

    def _open(self) -> socket.socket:
        """An unconnected socket, with TLS around it where that is spoken."""
        if self._tls is None:
            return unconnected(self._address)
        return self._tls.unconnected(self._address, self._name().rstrip("."))

    def _connect(self, sock: socket.socket) -> Steps[None]:
        return connected(sock, self._address)

    def _on_new(self, sock: socket.socket) -> Steps[tuple[Result, bool]]:
        seen = "connected"
        if self._tls is not None:
            seen = yield from self._tls.handshake(sock)
        if self._health.probe in ("tcp", "tls"):
            return Result(Outcome.PASSED, seen), False
        return (yield from self._ask(sock))

    def _on_kept(self, sock: socket.socket) -> Steps[tuple[Result, bool]]:
        require_silence(sock)
        return (yield from self._ask(sock))

    def _ask(self, sock: socket.socket) -> Steps[tuple[Result, bool]]:
        token = self._credentials.read().read_token()
        yield from send(sock, http.request(self._health.path, self._authority(), token))
        answer = yield from receive(sock)
        return _judged(self._health, answer), answer.reusable

    def _authority(self) -> str:
        """The Host header: a given name stands for itself, a server's own host needs the port that it has."""
        name = self._name()
        if not self._credentials.read().server_name and self._address[1]:
            return str(Address(name, self._address[1]))
        return f"[{name}]" if ":" in name else name

    def _name(self) -> str:
        """For the certificate and the Host header."""
        return (self._credentials.read().server_name or self._host).encode("idna").decode("ascii")


def prepare(settings: Iterable[Health]) -> None:
    """Load what such probes take: before a fork its memory is shared."""
    for health in settings:
        _tls(health, CredentialReader(health))


def _tls(health: Health, credentials: CredentialReader) -> ClientTls | None:
    if health.probe not in ("tls", "https"):
        return None
    # With OpenSSL it is a few MB, which others can do without.
    from kubelb.health.tls import ClientTls

    return ClientTls(credentials)


def _judged(health: Health, answer: http.Answer) -> Result:
    text = f"{health.path}: {answer.status}"
    if answer.status in (health.expect or (200,)):
        return Result(Outcome.PASSED, _line(text))
    if health.probe == "https" and not health.expect and answer.status in (401, 403):
        return Result(Outcome.NOT_TOLD if answer.status == 401 else Outcome.FORBIDDEN, _line(text))
    detail = _detail(answer.body)
    return Result(Outcome.UNREADY, _line(f"{text}: {detail}" if detail else text))


def _detail(body: bytes) -> str:
    """What an operator may want to know of it: a kube-apiserver's first failing check ("[-]etcd failed: ..."), else
    its first line, if that is a text and short."""
    lines = [line for part in body.decode(errors="replace").splitlines() if (line := part.strip())]
    line = next((line for line in lines if line.startswith("[-]")), lines[0] if lines else "")
    telling = line.isprintable() and "\ufffd" not in line and not line.startswith(("<", "{"))
    return line if telling and len(line) <= _MAX_DETAIL else ""


def _outcome(fault: OSError | OwnFault | PeerFault, connected: bool) -> Outcome:
    """What the fault says of the server; ``connected``: whether it came after the server had accepted."""
    match fault:
        case OwnFault():
            return Outcome.NOT_ASKED
        case PeerFault():
            return Outcome.BROKEN
        case OSError(errno=number) if number in OWN:
            return Outcome.NOT_ASKED
        case OSError(errno=number) if number in _AFTER_ACCEPTING:
            return Outcome.BROKEN
        case OSError(errno=number) if number in _REFUSING and not connected:
            return Outcome.REFUSED
        case OSError():
            return Outcome.UNANSWERED


def _words(fault: OSError | OwnFault | PeerFault) -> str:
    match fault:
        case OSError():
            # What an SSLSocket says of a connection that was reset before it had to read or write.
            number = errno.ECONNRESET if fault.errno == errno.ENOTCONN else number_of(fault)
            return f"own limit: {own_reason(number)}" if number in OWN else reason(number)
        case OwnFault() | PeerFault() as ours:
            return str(ours)


def _line(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."
