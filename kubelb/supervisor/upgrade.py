"""One supervisor in another's place while sessions live on: what passes between the two.

The old one starts the new and is asked, over a channel between the two, for what there is: sockets, counters, the pid
file, the newest snapshot. Once everybody serves over there the new one takes over: it owns the pid file, its workers
accept, and it gets channels through which the old one's workers give it their sessions, from relay thread to relay
thread. Until the last of them is given the old one has everything still, and goes on alone if the new one ends.

For the only thread of each supervisor. Each owns its end of the channel.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import kubelb
from kubelb.config.faults import ConfigFault, Fault, toml_text
from kubelb.config.values import Address
from kubelb.snapshot import Snapshot
from kubelb.stats import OtherLayout, Table
from kubelb.supervisor.children import start_apart
from kubelb.supervisor.image import Image
from kubelb.supervisor.pidfile import PidFile
from kubelb.supervisor.sockets import ADMIN
from kubelb.wire.channel import Channel, MessageLost, close_all
from kubelb.wire.message_sets import FROM_PREDECESSOR, FROM_SUCCESSOR, FromPredecessor, MessageFault
from kubelb.wire.messages import AT_MOST, Descriptors, Failed, Inherit, Legacy
from kubelb.wire.outbox import Outbox

T = TypeVar("T")

_VARIABLE = "KUBELB_PREDECESSOR"
"""Of a new supervisor: its end of the channel."""
_ANSWER = 20.0
"""Seconds that the old one may take to say what there is."""
_PID_FILE, _COUNTERS = "pid file", "counters"


class Successor:
    """The new supervisor, as the old one knows it."""

    def __init__(self, image: Image, variables: dict[str, str], deadline: float) -> None:
        """Starts it. ``variables`` are for it to find in its environment. Raises :class:`OSError`."""
        self.channel, theirs = Channel.pair(FROM_SUCCESSOR, FROM_PREDECESSOR)
        self._outbox = Outbox(self.channel)
        try:
            start_apart(image, {**variables, _VARIABLE: str(theirs.fileno())}, theirs.fileno())
        except OSError:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid = 0
        """0: it has not said."""
        self.version = ""
        self.took_over = False
        self.faults: tuple[str, ...] = ()
        """Why it cannot."""
        self.deadline = deadline
        """When it has to have taken over, or to have all sessions, in seconds of the monotonic clock."""

    def leave(self, snapshot: Snapshot, rows: Sequence[int], descriptors: dict[str, int]) -> None:
        """Give it what there is, in copy."""
        names, fds = tuple(descriptors), list(descriptors.values())
        self.channel.send(Legacy(snapshot, tuple(rows), names))
        self.send_descriptors(fds)

    def send_descriptors(self, fds: Sequence[int]) -> None:
        for first in range(0, len(fds), AT_MOST):
            self.channel.send(Descriptors(), fds[first : first + AT_MOST])

    def say(self, message: FromPredecessor) -> None:
        """Where something is short here it is kept; :meth:`settle` is to be called now and then."""
        self._outbox.send(message)

    def settle(self) -> None:
        self._outbox.flush()

    def has_taken_over(self, deadline: float) -> None:
        """``deadline`` is when it has to have all sessions."""
        self.took_over, self.deadline = True, deadline

    def close(self) -> None:
        """One that could not be told to give up must not take the end of the channel for leave to serve."""
        self._outbox.flush()
        if self._outbox.owes and self.pid and not self.took_over:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.channel.close()


def is_successor(environment: Mapping[str, str]) -> bool:
    """Whether a supervisor has started this process to take its place."""
    return _VARIABLE in environment


def legacy_descriptors(sockets: dict[str, socket.socket], pidfile: PidFile, table: Table) -> dict[str, int]:
    """What a new supervisor is left, by name."""
    named = {name: sock.fileno() for name, sock in sockets.items()}
    return {_PID_FILE: pidfile.fileno(), _COUNTERS: table.fd, **named}


class Predecessor:
    """The old supervisor, as the new one knows it, until it has gone."""

    def __init__(self, channel: Channel[FromPredecessor]) -> None:
        self.channel = channel

    @classmethod
    def of_this_process(cls, environment: MutableMapping[str, str]) -> Predecessor | None:
        """None: this process has not been started by one. The variable that says so is for nobody else.

        Raises :class:`ConfigFault` where it names nothing of that kind.
        """
        text = environment.pop(_VARIABLE, None)
        if text is None:
            return None
        try:
            fd = int(text)
            os.set_inheritable(fd, False)
            channel = Channel.of(fd, FROM_PREDECESSOR)
        except (ValueError, OverflowError, OSError):
            what = f"{_VARIABLE} is {toml_text(text)}, which leads to no running kubelb"
            raise ConfigFault(Fault(what=what, instead="unset it: only kubelb itself has a use for it")) from None
        return cls(channel)

    def inherit(self) -> Inheritance:
        """Raises :class:`ConfigFault` when it has gone, or has given up waiting."""
        self.channel.settimeout(_ANSWER)
        try:
            self.channel.send_at_last(Inherit(os.getpid(), kubelb.__version__))
            legacy = _in_time(self.channel.receive)
            if not isinstance(legacy, Legacy):
                raise ConfigFault(Fault(what="the running kubelb has given up the upgrade"))
            return Inheritance(legacy, self._descriptors(legacy.descriptors))
        except TimeoutError:
            raise ConfigFault(Fault(what="the running kubelb does not answer")) from None
        except (MessageFault, MessageLost) as error:
            raise ConfigFault(
                Fault(what=f"the running kubelb is another one than this can succeed: {error}")
            ) from None
        finally:
            self.channel.settimeout(0)

    def _descriptors(self, names: Sequence[str]) -> dict[str, int]:
        found: list[int] = []
        while len(found) < len(names):
            message, fds = _in_time(self.channel.receive_with_fds)
            if not isinstance(message, Descriptors) or not fds:
                close_all(found)
                raise ConfigFault(Fault(what="the running kubelb's sockets did not arrive", instead="try again"))
            found += fds
        return dict(zip(names, found, strict=True))

    def fail(self, faults: Sequence[str]) -> bool:
        """Whether it could be told: it says so then, and goes on."""
        return self.channel.send_at_last(Failed(tuple(faults)))


def _in_time(receive: Callable[[], T]) -> T:
    """What is received, from a channel that waits, also where the kernel has no memory for it at first.

    Raises :class:`TimeoutError`.
    """
    give_up_at = time.monotonic() + _ANSWER
    while time.monotonic() < give_up_at:
        with suppress(BlockingIOError):
            return receive()
    raise TimeoutError


@dataclass
class Inheritance:
    """What the old supervisor has left. Each descriptor is whose function is called for it first."""

    legacy: Legacy
    _descriptors: dict[str, int] = field(default_factory=dict)

    def take(self, address: Address) -> socket.socket | None:
        """The socket that listens there; None: there is none."""
        fd = self._descriptors.pop(str(address), None)
        return None if fd is None else _listening(fd)

    def admin(self) -> socket.socket:
        return _listening(self._descriptors.pop(ADMIN))

    def pidfile(self, runtime_dir: Path) -> PidFile:
        """Raises :class:`ConfigFault` where that is not the directory."""
        return PidFile.left(runtime_dir, self._descriptors.pop(_PID_FILE))

    def table(self) -> Table | None:
        """None: it counts in another way, and counting begins anew."""
        fd = self._descriptors.pop(_COUNTERS)
        try:
            return Table.attach(fd)
        except OtherLayout:
            os.close(fd)
            return None

    def close_rest(self) -> tuple[Path, ...]:
        """What nobody has taken: it is not listened on any more. The unix sockets among it."""
        paths = tuple(Path(path) for name in self._descriptors if (path := Address(name, 0).path) is not None)
        close_all(self._descriptors.values())
        self._descriptors = {}
        return paths


def _listening(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock
