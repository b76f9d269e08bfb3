"""Servers that do not answer, on this machine and without root."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from kubelb.snapshot import SocketAddress
from tests.support.identity import name_of

DEADLINE = 60.0


class Hole:
    """A listening socket whose queue is full: its kernel drops what comes, like a machine that has vanished."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        with ExitStack() as stack:
            self._listener = stack.enter_context(socket.create_server((host, 0), backlog=0))
            self._listener.settimeout(DEADLINE)
            self.address: SocketAddress = self._listener.getsockname()
            self._fillers = [stack.enter_context(socket.socket()) for _ in range(3)]
            for filler in self._fillers:
                filler.setblocking(False)
                filler.connect_ex(self.address)
            self._opened = stack.pop_all()

    @property
    def name(self) -> str:
        return name_of(self.address)

    def open(self) -> socket.socket:
        """Have it answer after all, from the next try of a client's kernel on: the first client's connection."""
        fillers = {filler.getsockname() for filler in self._fillers}
        for filler in self._fillers:
            filler.close()
        while True:
            server, client = self._listener.accept()
            if client not in fillers:
                server.settimeout(DEADLINE)
                return server
            server.close()

    def refuse(self) -> None:
        """Have it refuse what it has not answered, at the next try of the client's kernel."""
        self._listener.close()

    def close(self) -> None:
        self._opened.close()


@contextmanager
def a_hole(host: str = "127.0.0.1") -> Iterator[Hole]:
    hole = Hole(host)
    try:
        yield hole
    finally:
        hole.close()
