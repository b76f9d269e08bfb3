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

from bench.failover.lines import FAULTS, Line
from bench.failover.records import UNANSWERED, End, Load, Record, Try
from bench.failover.terms import HANG_SECONDS, PORT, TRANSFER_PATH

T = TypeVar("T")

_HOST: Final = "127.0.0.1"
_PATH: Final = "/api"
_RETRY_SECONDS: Final = 0.01
"""Before a dial that follows a dial that failed."""
_STAGGER_SECONDS: Final = 3.0
"""The first transfers begin evenly spaced over this."""


class Clients:
    """All of them, and what they have seen."""

    def __init__(self, load: Load, context: ssl.SSLContext) -> None:
        self._load = load
        self._context = context
        self._requests: list[Try] = []
        self._connections: list[Try] = []
        self._transfers: list[Try] = []
        self._ends: list[End] = []
        self._sessions = [""] * load.sessions
        self._waiting = {*range(1 + load.clients + load.sessions + load.transfers)}
        """Who has not been served yet: 0 is the new connections, then come clients, sessions and transfers."""
        self.served = asyncio.Event()
        if not load.every:
            self._was_served(0)

    async def run(self, stop: asyncio.Event) -> Record:
        """Until ``stop`` is set, and as long after it as what was begun before may take."""
        load = self._load
        sessions = [asyncio.ensure_future(self._keep_session(number)) for number in range(load.sessions)]
        asking = {
            *(asyncio.ensure_future(self._keep_asking(number + 1, stop)) for number in range(load.clients)),
            *(asyncio.ensure_future(self._keep_transferring(number, stop)) for number in range(load.transfers)),
        }
        while not stop.is_set():
            if load.every:
                asking.add(dial := asyncio.ensure_future(self._try_once()))
                dial.add_done_callback(asking.discard)
            await _until(stop, load.every or HANG_SECONDS)
        stopped, served_by = time.monotonic(), list(self._sessions)
        await _end(sessions, 0)
        await _end(asking, load.finish)
        return Record(
            stopped=stopped,
            requests=self._requests,
            connections=self._connections,
            transfers=self._transfers,
            ends=[end for end in self._ends if end.at <= stopped],
            sessions=served_by,
        )

    async def _keep_asking(self, number: int, stop: asyncio.Event) -> None:
        """One keep-alive client. Clients begin evenly spaced over the pause."""
        await asyncio.sleep(self._load.pause * number / self._load.clients)
        line: Line | None = None
        while not stop.is_set():
            begun = time.monotonic()
            if line is not None and line.ended:
                self._lost(line)
                line = None
            used = line is not None
            server = fault = ""
            status = 0
            try:
                line = line or await self._dial()
                reply = await line.ask(_PATH)
                server, status = reply.server, reply.status
                if not reply.lasts:
                    line.close()
                    line = None
            except FAULTS as error:
                fault = _kind(error)
                self._lost(line)
                line = None
            except asyncio.CancelledError:
                fault = UNANSWERED
                raise
            finally:
                self._requests.append(Try(number, begun, time.monotonic(), server, fault, status))
            if not fault:
                self._was_served(number)
                await asyncio.sleep(self._load.pause)
            elif not used:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _keep_session(self, number: int) -> None:
        """One long-lived session."""
        while True:
            line: Line | None = None
            with suppress(*FAULTS):
                line = await self._dial()
                self._sessions[number] = (await _in_time(line.ask(_PATH))).server
                self._was_served(1 + self._load.clients + number)
                await line.wait_for_end()
            self._sessions[number] = ""
            self._lost(line)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _keep_transferring(self, number: int, stop: asyncio.Event) -> None:
        """One transfer after the other. It may take its time once it has begun."""
        await asyncio.sleep(_STAGGER_SECONDS * number / self._load.transfers)
        while not stop.is_set():
            begun = time.monotonic()
            line: Line | None = None
            server = fault = ""
            status = 0
            try:
                line = await self._dial()
                reply = await _in_time(line.ask(TRANSFER_PATH))
                server, status = reply.server, reply.status
                self._was_served(1 + self._load.clients + self._load.sessions + number)
                await line.read_body(reply.length)
            except FAULTS as error:
                fault = _kind(error)
            except asyncio.CancelledError:
                fault = UNANSWERED
                raise
            finally:
                self._transfers.append(Try(0, begun, time.monotonic(), server, fault, status))
                _close(line)
            if fault:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _try_once(self) -> None:
        """One new connection."""
        begun = time.monotonic()
        line: Line | None = None
        server = fault = ""
        status = 0
        try:
            line = await self._dial()
            reply = await _in_time(line.ask(_PATH))
            server, status = reply.server, reply.status
        except FAULTS as error:
            fault = _kind(error)
        except asyncio.CancelledError:
            fault = UNANSWERED
        self._connections.append(Try(0, begun, time.monotonic(), server, fault, status))
        _close(line)
        if not fault:
            self._was_served(0)

    async def _dial(self) -> Line:
        return Line(*await _in_time(asyncio.open_connection(_HOST, PORT, ssl=self._context)))

    def _lost(self, line: Line | None) -> None:
        """What ended without a word, or failed, is closed, and counts as cut if it had been served."""
        if line is not None and line.server:
            self._ends.append(End(time.monotonic(), line.server))
        _close(line)

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
        return UNANSWERED
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
