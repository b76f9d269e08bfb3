"""The clients, one process in the node's namespace: ``python -m bench.failover.clients AUTHORITY`` with a
:class:`~bench.failover.records.Load` as the first line of its standard input.

It prints an empty line once every client has been served, goes on until its standard input ends, and prints a
:class:`~bench.failover.records.Record`. TLS and HTTP/1.1, as a kubelet: a connection that ended while nothing was
asked is replaced before the next request and fails nothing. The event loop owns all its sockets.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import sys
import time
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from bench.failover.records import Load, Record, Try
from bench.failover.terms import HANG_SECONDS, PORT

T = TypeVar("T")

_HOST: Final = "127.0.0.1"
_UNANSWERED: Final = "no answer"
_RETRY_SECONDS: Final = 0.01
"""Before a dial that follows a dial that failed."""
_REQUEST: Final = b"GET /api HTTP/1.1\r\nHost: kube-apiserver\r\n\r\n"

_FAULTS: Final = (OSError, EOFError, asyncio.TimeoutError)
"""What a client may meet: SSLError is an OSError, IncompleteReadError an EOFError."""


class Line:
    """One TLS connection through the balancer; whoever dialled it closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def ended(self) -> bool:
        """Nothing can be asked on it any more."""
        return self._writer.is_closing() or self._reader.at_eof() or self._reader.exception() is not None

    async def ask(self) -> str:
        """The name of the server that answered."""
        self._writer.write(_REQUEST)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:-1])
        if fields["Connection"] == "close":
            self.close()
        return fields["Server"]

    async def wait_for_end(self) -> None:
        with suppress(*_FAULTS):
            await self._reader.read()

    def close(self) -> None:
        self._writer.transport.abort()


class Clients:
    """All of them, and what they have seen."""

    def __init__(self, load: Load, context: ssl.SSLContext) -> None:
        self._load = load
        self._context = context
        self._requests: list[Try] = []
        self._connections: list[Try] = []
        self._sessions = [""] * load.sessions
        self._waiting = {*range(load.clients + load.sessions + 1)}
        """Who has not been served yet: 0 is the new connections, then come the clients, then the sessions."""
        self.served = asyncio.Event()
        if not load.every:
            self._was_served(0)

    async def run(self, stop: asyncio.Event) -> Record:
        """Until ``stop`` is set, and as long after it as what was begun before may take."""
        load = self._load
        sessions = [asyncio.ensure_future(self._keep_session(number)) for number in range(load.sessions)]
        asking = {asyncio.ensure_future(self._keep_asking(number + 1, stop)) for number in range(load.clients)}
        while not stop.is_set():
            if load.every:
                asking.add(dial := asyncio.ensure_future(self._try_once()))
                dial.add_done_callback(asking.discard)
            await _until(stop, load.every or HANG_SECONDS)
        stopped, served_by = time.monotonic(), list(self._sessions)
        await _end(sessions, 0)
        await _end(asking, load.finish)
        return Record(stopped=stopped, requests=self._requests, connections=self._connections, sessions=served_by)

    async def _keep_asking(self, number: int, stop: asyncio.Event) -> None:
        """One keep-alive client. Clients begin evenly spaced over the pause."""
        await asyncio.sleep(self._load.pause * number / self._load.clients)
        line: Line | None = None
        while not stop.is_set():
            begun = time.monotonic()
            used = line is not None and not line.ended
            server = fault = ""
            try:
                line = line if line is not None and used else await self._dial()
                server = await line.ask()
            except _FAULTS as error:
                fault = _kind(error)
                _close(line)
            except asyncio.CancelledError:
                fault = _UNANSWERED
                raise
            finally:
                self._requests.append(Try(number, begun, time.monotonic(), server, fault))
            if not fault:
                self._was_served(number)
                await asyncio.sleep(self._load.pause)
            elif not used:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _keep_session(self, number: int) -> None:
        """One long-lived session."""
        while True:
            line: Line | None = None
            with suppress(*_FAULTS):
                line = await self._dial()
                self._sessions[number] = await _in_time(line.ask())
                self._was_served(self._load.clients + number + 1)
                await line.wait_for_end()
            self._sessions[number] = ""
            _close(line)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _try_once(self) -> None:
        """One new connection."""
        begun = time.monotonic()
        line: Line | None = None
        server = fault = ""
        try:
            line = await self._dial()
            server = await _in_time(line.ask())
        except _FAULTS as error:
            fault = _kind(error)
        except asyncio.CancelledError:
            fault = _UNANSWERED
        self._connections.append(Try(0, begun, time.monotonic(), server, fault))
        _close(line)
        if not fault:
            self._was_served(0)

    async def _dial(self) -> Line:
        return Line(*await _in_time(asyncio.open_connection(_HOST, PORT, ssl=self._context)))

    def _was_served(self, number: int) -> None:
        self._waiting.discard(number)
        if not self._waiting:
            self.served.set()


def _close(line: Line | None) -> None:
    if line is not None:
        line.close()


async def _in_time(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, HANG_SECONDS)


async def _until(stop: asyncio.Event, seconds: float) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _end(tasks: Collection[asyncio.Future[None]], patience: float) -> None:
    """Cancel those not done within ``patience`` seconds."""
    if tasks:
        _done, left = await asyncio.wait(tasks, timeout=patience)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _kind(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return _UNANSWERED
    return "reset" if isinstance(error, ConnectionError) else "cut short"


async def main(authority: str, load: Load) -> Record:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_reader(sys.stdin, stop.set)
    clients = Clients(load, ssl.create_default_context(cafile=authority))
    running = loop.create_task(clients.run(stop))
    await asyncio.wait([running, loop.create_task(clients.served.wait())], return_when=asyncio.FIRST_COMPLETED)
    print(flush=True)
    return await running


if __name__ == "__main__":
    gc.disable()  # a collection in the middle of a measurement would look like a balancer's pause
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(main(sys.argv[1], asked))))
