"""A stand-in for a kube-apiserver, a process in its server's namespace: TLS, HTTP/1.1, its name in every reply.

``python -m bench.failover.apiserver NAME HOST PORT PEM`` reads one :class:`~bench.failover.manner.Manner` a line, as
JSON, from its standard input, begins to listen with the first, and prints a line once each is in force: the time, in
seconds of the monotonic clock, and its port. It ends at once when its standard input does.

``/list`` is a transfer that takes :data:`~bench.failover.terms.TRANSFER_SECONDS`, a piece each half second. The event
loop owns all sockets.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import cycle
from typing import Final, cast

import msgspec

from bench.failover.manner import Door, Manner
from bench.failover.terms import TRANSFER_PATH, TRANSFER_SECONDS

_BACKLOG: Final = 4096
"""Go asks for what the kernel allows, which is this by default (net.core.somaxconn)."""
_HANDSHAKE_SECONDS: Final = 60.0
_REASONS: Final = {200: "OK", 403: "Forbidden", 500: "Internal Server Error"}
_READYZ: Final = "/readyz"
_PIECE: Final = b"x" * 16384
_PIECE_SECONDS: Final = 0.5
_PIECES: Final = int(TRANSFER_SECONDS / _PIECE_SECONDS)
_FULL_SECONDS: Final = 0.2
"""A connect to oneself that takes longer has met a full queue."""


class Apiserver:
    """What all its connections share."""

    def __init__(self, name: str, context: ssl.SSLContext, manner: Manner) -> None:
        self.name = name
        self._context = context
        self._handshakes: set[asyncio.Task[None]] = set()
        self._go_by(manner)

    def _go_by(self, manner: Manner) -> None:
        self.manner = manner
        self._ready_seconds = cycle(manner.ready_seconds)
        self._waiting: list[Callable[[], None]] = []

    def welcome(self, connection: socket.socket) -> None:
        """Takes the connection over."""
        task = asyncio.get_running_loop().create_task(self._shake_hands(connection))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        """A client that breaks it off is none of ours."""
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.get_running_loop().connect_accepted_socket(
                partial(Connection, self), connection, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )

    def change(self, manner: Manner) -> None:
        """What waited for an answer gets it, unless this manner gives none either."""
        waiting = self._waiting
        self._go_by(manner)
        for ask in waiting:
            ask()

    def take(self, path: str, reply: Callable[[int], None]) -> None:
        """Call ``reply`` with the status when it is time."""
        manner = self.manner
        if not manner.answers:
            self._waiting.append(partial(self.take, path, reply))
            return
        ready = path == _READYZ
        seconds = random.uniform(*manner.seconds) + (next(self._ready_seconds) if ready else 0.0)
        send = partial(reply, manner.ready if ready else manner.status)
        if seconds:
            asyncio.get_running_loop().call_later(seconds, send)
        else:
            send()


class Connection(asyncio.Protocol):
    """Answers one request after the other; its client asks the next once it has the reply."""

    def __init__(self, apiserver: Apiserver) -> None:
        self._apiserver = apiserver
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            self._ask(head)

    def _ask(self, head: bytes) -> None:
        _method, path, version = head.decode().partition("\r\n")[0].split(" ")
        keep = version == "HTTP/1.1" and b"connection: close" not in head.lower()
        self._apiserver.take(path, partial(self._reply, path, keep))

    def _reply(self, path: str, keep: bool, status: int) -> None:
        keep = keep and self._apiserver.manner.lasts
        pieces = _PIECES if path == TRANSFER_PATH else 0
        head = [
            f"HTTP/1.1 {status} {_REASONS[status]}",
            f"Server: {self._apiserver.name}",
            f"Connection: {'keep-alive' if keep else 'close'}",
            f"Content-Length: {pieces * len(_PIECE)}",
        ]
        self._transport.write("".join(f"{line}\r\n" for line in (*head, "")).encode())
        self._transfer(pieces, keep)

    def _transfer(self, pieces: int, keep: bool) -> None:
        """Send what is left of the reply's body; the connection may have ended meanwhile."""
        if pieces and not self._transport.is_closing():
            self._transport.write(_PIECE)
            asyncio.get_running_loop().call_later(_PIECE_SECONDS, self._transfer, pieces - 1, keep)
        elif not keep:
            self._transport.close()


class Entrance:
    """The listening socket, and what is done with it."""

    def __init__(self, host: str, port: int, welcome: Callable[[socket.socket], None]) -> None:
        """``welcome`` takes each accepted connection over."""
        self._welcome = welcome
        self._listener: socket.socket | None = socket.create_server((host, port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._filling: list[socket.socket] = []
        """Connections to ourselves, which fill the queue for as long as they are kept."""

    async def turn(self, door: Door) -> None:
        """One that was closed stays so."""
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        if door is Door.OPEN:
            self._listener.listen(_BACKLOG)
            loop.add_reader(self._listener, self._accept, self._listener)
        elif door is Door.FULL:
            await self._fill(self._listener)
        elif door is Door.CLOSED:
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        """All that have come."""
        while True:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            connection.setblocking(False)
            self._welcome(connection)

    async def _fill(self, listener: socket.socket) -> None:
        """The shortest queue there is takes one connection, perhaps two that come at once."""
        listener.listen(0)
        loop = asyncio.get_running_loop()
        with suppress(asyncio.TimeoutError):
            while True:
                self._filling.append(filling := socket.socket())
                filling.setblocking(False)
                await asyncio.wait_for(loop.sock_connect(filling, self.address), _FULL_SECONDS)


async def serve(name: str, host: str, port: str, pem: str) -> None:
    """Until nothing more can be told."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    apiserver = Apiserver(name, context, _manner(await orders.readline()))
    entrance = Entrance(host, int(port), apiserver.welcome)
    while True:
        await entrance.turn(apiserver.manner.door)
        print(time.monotonic(), entrance.address[1], flush=True)
        order = await orders.readline()
        if not order:
            return
        apiserver.change(_manner(order))


def _manner(order: bytes) -> Manner:
    return msgspec.json.decode(order, type=Manner)


if __name__ == "__main__":
    gc.disable()  # a collection in the middle of a measurement would be felt by all clients
    asyncio.run(serve(*sys.argv[1:]))
