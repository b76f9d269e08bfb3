"""A session as those who play it have it: a client, and the server it was taken to."""

from __future__ import annotations

import errno
import random
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from kubelb.snapshot import SocketAddress, target
from tests.differential.endpoint import Endpoint
from tests.differential.observe import End, Line, Session, digest
from tests.differential.scripts import By, Connect
from tests.differential.stage import family

_SMALL = 16384
_PORTS = range(20_000, 32_000)
"""Of clients. Below those that the kernel gives, so that none is a server's, too, and is told apart in any text."""
_chance = random.SystemRandom()


class Pair:
    """A session; without a server it has one end."""

    def __init__(self, client: Endpoint, name: str) -> None:
        """``name``: the client's, as the log has it."""
        self.client = client
        self.name = name
        self.server: Endpoint | None = None
        self.picked: int | None = None
        self.seen_from: str | None = None
        self.over = False
        """A connection has been reset, or closed for good where that is told, and nobody is left."""

    @property
    def ends(self) -> list[Endpoint]:
        return [self.client] if self.server is None else [self.client, self.server]

    def sides(self, by: By) -> tuple[Endpoint, Endpoint] | None:
        """Who does it and who is opposite; None: there is nobody to do it any more."""
        if self.server is None or self.over:
            return None
        one, other = (self.client, self.server) if by is By.CLIENT else (self.server, self.client)
        return None if one.closed else (one, other)

    def seen(self, ends: Sequence[End], log: Line) -> Session:
        """``ends`` are those before the last left."""
        heard = [end.heard(before) for end, before in zip(self.ends, ends, strict=True)]
        if self.server is None and self.client.said:
            # Whether what it said was there when it was turned away, or read, and the close a reset, is chance.
            heard = [replace(heard[0], end=End.RESET, last=End.RESET)]
            log = {**log, "bytes_received": "any"}
        if self.over and log["upstream_bytes_received"].split(", ")[-1] == "0":
            # Before nginx the server may end after that; kubelb has closed by then.
            log = {**log, "upstream_first_byte_time": "any"}
        told = self.client.words if self.server is None else self.server.header
        plain = self._plain(told.decode("latin-1"))
        if self.server is None:
            heard = [replace(heard[0], digest=digest(plain.encode()))]
        return Session(
            heard[0],
            heard[1] if len(heard) > 1 else None,
            self.picked,
            self.seen_from,
            {name: self._plain(value) for name, value in log.items()},
            plain,
        )

    def _plain(self, text: str) -> str:
        """Without the client's port, which is another one each time."""
        port = self.name.rpartition(" ")[2]
        return re.sub(rf"\b{port}\b", "PORT", text) if port else text


def connected(address: SocketAddress, step: Connect) -> socket.socket:
    sock = socket.socket(family(address))
    if step.slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    if sock.family != socket.AF_UNIX:
        _bind(sock, step.source or ("::1" if sock.family == socket.AF_INET6 else "127.0.0.1"))
    # A blocking connect fails where the reset is there before it looks.
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect(target(address))
    return sock


def _bind(sock: socket.socket, host: str) -> None:
    while True:
        try:
            sock.bind((host, _chance.choice(_PORTS)))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def name_of(sock: socket.socket) -> str:
    """As the log has it: address and port; who comes by a unix socket has no name."""
    return "unix: " if sock.family == socket.AF_UNIX else "{} {}".format(*sock.getsockname())
