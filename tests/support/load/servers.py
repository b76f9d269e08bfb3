"""The servers behind the proxy: they answer the load's questions, and can be killed and come back.

They run on the load's event loop, which owns all of their sockets.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from kubelb.snapshot import SocketAddress
from tests.support.identity import name_of
from tests.support.load.faults import ServerKilled
from tests.support.load.line import BUFFER, Line
from tests.support.load.loop import Loop, give_up, together
from tests.support.load.words import Bulk, Wrong, answer, parse

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]
"""Has a connection, and closes it."""


class Door:
    """A listening socket, and a task for each connection it has accepted; on the event loop's thread."""

    def __init__(self, address: SocketAddress, serve: Serve) -> None:
        """The address may be held by a socket that does not listen."""
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._listening.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self._listening.setblocking(False)
        self._listening.bind(address)
        self._listening.listen(4096)
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = self._listening.accept()
            task = asyncio.ensure_future(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(partial(self._left, client))

    def _left(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        # One that was given up before it began has not even closed its socket.
        client.close()
        self._tasks.discard(task)

    async def close(self) -> None:
        """All of the sockets, as when their process is killed."""
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        await give_up(*self._tasks)


class Server:
    """One; on the event loop's thread."""

    def __init__(self, address: SocketAddress) -> None:
        self._address = address
        self.name = name_of(address)
        self._serial = 0
        self._door: Door | None = None

    async def start(self) -> None:
        self._door = Door(self._address, self._serve)

    async def kill(self) -> ServerKilled:
        assert self._door is not None
        since = time.monotonic()
        await self._door.close()
        self._door = None
        return ServerKilled(since, time.monotonic(), self.name)

    async def stop(self) -> None:
        if self._door is not None:
            await self.kill()

    async def _serve(self, client: socket.socket) -> None:
        self._serial += 1
        session = f"{self.name}#{self._serial}"
        # Whatever goes wrong here the client sees, or has done.
        with Line(client) as line, suppress(ConnectionError, EOFError, Wrong):
            while question := await line.line():
                asked = parse(question)
                await line.send(answer(session, asked.number))
                if isinstance(asked, Bulk):
                    await _transfer(line, asked)
                    break
                await line.send_stream(asked.number, asked.size)


async def _transfer(line: Line, asked: Bulk) -> None:
    async def take() -> str:
        return (await line.digest(None, asked.burst, asked.pause))[1]

    taken, sent = await together(take(), line.send_stream(asked.number, asked.down))
    await line.send(f"{taken} {sent}\n".encode())


class Servers:
    """Owned by the thread that enters it."""

    def __init__(self, loop: Loop, addresses: Sequence[SocketAddress]) -> None:
        """``addresses`` are held by somebody, that nobody else gets them while a server is dead."""
        self._loop = loop
        self._servers = [Server(address) for address in addresses]

    def __enter__(self) -> Servers:
        for server in self._servers:
            self._loop.do(server.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            self._loop.do(server.stop())

    def name(self, position: int) -> str:
        return self._servers[position].name

    def kill(self, position: int) -> ServerKilled:
        return self._loop.do(self._servers[position].kill())

    def start(self, position: int) -> None:
        """After :meth:`kill`: it is back."""
        self._loop.do(self._servers[position].start())
