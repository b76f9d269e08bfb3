"""The servers that both proxies have, and whoever plays: all in one thread, which looks at everything at once.

No step waits for a time. It waits for what it brings about: that bytes arrive, that an end is seen. So both proxies
are met in the same order of events.
"""

from __future__ import annotations

import select
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from kubelb.snapshot import SocketAddress, target
from tests.differential.scripts import HOSTS, Welcome

_PATIENCE = 10.0


class Watched(Protocol):
    @property
    def interest(self) -> int: ...

    def fileno(self) -> int: ...

    def ready(self, mask: int) -> None: ...


def family(address: SocketAddress) -> socket.AddressFamily:
    if address[0].startswith("unix:"):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


class Server:
    """One address, kept for as long as the stage stands: whoever listens there or not, nobody else gets it."""

    def __init__(self, host: str, directory: Path) -> None:
        """``directory`` is where a unix socket is."""
        address = (f"unix:{directory}/server", 0) if host == "unix:" else (host, 0)
        self._family = family(address)
        self._holder = self._bound(address)
        self.address: SocketAddress = address if host == "unix:" else self._holder.getsockname()[:2]
        self._listening: socket.socket | None = None
        self._crowd: list[socket.socket] = []
        self.accepted: list[socket.socket] = []
        self.welcome = Welcome.REFUSE

    def _bound(self, address: SocketAddress) -> socket.socket:
        sock = socket.socket(self._family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._family == socket.AF_UNIX:
            with suppress(FileNotFoundError):
                Path(address[0].removeprefix("unix:")).unlink()
            sock.bind(address[0].removeprefix("unix:"))
        else:
            sock.bind(address)
        return sock

    def change(self, welcome: Welcome) -> None:
        listens = (Welcome.REFUSE, Welcome.MUTE)
        if welcome is not self.welcome and (welcome in listens or self.welcome in listens):
            self.close()
            if welcome is not Welcome.REFUSE:
                self._listen(mute=welcome is Welcome.MUTE)
        self.welcome = welcome

    def _listen(self, mute: bool) -> None:
        self._listening = self._bound(self.address)
        self._listening.setblocking(False)
        self._listening.listen(0 if mute else 511)
        if mute:
            # Linux answers one more than the backlog.
            self._crowd = [socket.socket(self._family)]
            self._crowd[0].connect(target(self.address))

    @property
    def interest(self) -> int:
        return 0 if self._listening is None or self._crowd else select.POLLIN

    def fileno(self) -> int:
        assert self._listening is not None
        return self._listening.fileno()

    def ready(self, mask: int) -> None:
        assert self._listening is not None
        self.accepted.append(self._listening.accept()[0])

    def close(self) -> None:
        """Refuse; the address is still kept."""
        for sock in (*self._crowd, *([self._listening] if self._listening else [])):
            sock.close()
        self._crowd, self._listening = [], None

    def leave(self) -> None:
        self.close()
        self._holder.close()


class Stage:
    """The servers of :data:`~tests.differential.scripts.HOSTS`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="stage")
        self.servers = [Server(host, Path(self._directory.name)) for host in HOSTS]

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.leave()
        self._directory.cleanup()

    def set(self, welcomes: Sequence[Welcome]) -> None:
        """From the beginning: of what was before nothing is left. Those that are not named stay."""
        staying = [Welcome.STAY] * (len(self.servers) - len(welcomes))
        for server, welcome in zip(self.servers, (*welcomes, *staying), strict=True):
            server.change(Welcome.REFUSE)
            server.accepted.clear()
            server.change(welcome)

    def until(self, condition: Callable[[], object], others: Sequence[Watched], what: str) -> None:
        """Let servers and ``others`` go on until that is so.

        Raises :class:`AssertionError`, with ``what`` was waited for, when it never is.
        """
        give_up_at = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > give_up_at:
                raise AssertionError(f"never came: {what}")
            for watched, mask in _poll([*self.servers, *others], 1.0):
                watched.ready(mask)


def _poll(all_: Sequence[Watched], seconds: float) -> list[tuple[Watched, int]]:
    poll = select.poll()
    by_fd: dict[int, Watched] = {}
    for watched in all_:
        if interest := watched.interest:
            by_fd[watched.fileno()] = watched
            poll.register(watched.fileno(), interest)
    return [(by_fd[fd], mask) for fd, mask in poll.poll(seconds * 1000)]
