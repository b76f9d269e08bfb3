"""One connection of the load, client's or server's. Its socket belongs to it and is closed with it, by its task."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from kubelb.snapshot import SocketAddress
from tests.support.load.words import Wrong, stream

BUFFER = 64 << 10
"""Bytes of a socket's buffers: small, so that what is not read stands still in the proxy."""
_LINE = 512


class Late(Exception):
    """The other side took too long."""


class Line:
    """On the event loop's thread."""

    def __init__(self, sock: socket.socket, patience: float | None = None) -> None:
        """``patience``: seconds that one step may take; None: for ever."""
        self._sock = sock
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._heard = b""
        self.moved = 0
        """Bytes, both ways."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def port(self) -> int:
        """Of this end."""
        port: int = self._sock.getsockname()[1]
        return port

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    async def connect(self, address: SocketAddress) -> None:
        with self._in_time():
            await self._loop.sock_connect(self._sock, address)

    async def send(self, data: bytes | memoryview) -> None:
        with self._in_time():
            await self._loop.sock_sendall(self._sock, data)
        self.moved += len(data)

    async def send_stream(self, seed: int, size: int) -> str:
        """Its digest."""
        digest = hashlib.sha256()
        for piece in stream(seed, size):
            await self.send(piece)
            digest.update(piece)
        return digest.hexdigest()

    def shut(self) -> None:
        """No more is sent."""
        self._sock.shutdown(socket.SHUT_WR)

    async def some(self, most: int) -> bytes:
        """What is there, once something is; empty: the other side sends no more."""
        if self._heard:
            piece, self._heard = self._heard[:most], self._heard[most:]
            return piece
        with self._in_time():
            piece = await self._loop.sock_recv(self._sock, most)
        self.moved += len(piece)
        return piece

    async def line(self, patience: bool = True) -> bytes:
        """The next one, its end with it; empty: the other side sends no more. Raises :class:`Wrong`.

        Without ``patience`` there is no limit: it may be long until somebody says something.
        """
        heard = self._heard
        while b"\n" not in heard:
            if len(heard) > _LINE:
                raise Wrong(f"{heard[:80]!r}...: no line")
            self._heard = b""
            piece = await (self.some(_LINE) if patience else self._loop.sock_recv(self._sock, _LINE))
            if not piece and heard:
                raise EOFError(f"ended within the line {heard!r}")
            if not piece:
                return b""
            heard += piece
        line, _, self._heard = heard.partition(b"\n")
        return line + b"\n"

    async def digest(self, size: int | None, burst: int, pause: float) -> tuple[int, str]:
        """Take ``size`` bytes, or all to the end, ``burst`` by ``burst``: how many came, and their digest."""
        digest = hashlib.sha256()
        taken = 0
        rest = burst
        while size is None or taken < size:
            piece = await self.some(rest if size is None else min(rest, size - taken))
            if not piece:
                break
            digest.update(piece)
            taken += len(piece)
            rest -= len(piece)
            if not rest:
                rest = burst
                await asyncio.sleep(pause)
        return taken, digest.hexdigest()

    async def end(self) -> None:
        """Nothing may come any more. Raises :class:`Wrong` if something does."""
        if piece := await self.some(_LINE):
            raise Wrong(f"{piece[:80]!r} after the end")

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Raises :class:`Late`."""
        if self._patience is None:
            yield
            return
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        alarm = self._loop.call_later(self._patience, expire)
        try:
            yield
        except asyncio.CancelledError:
            if expired:
                raise Late(f"nothing for {self._patience:g} seconds") from None
            raise
        finally:
            alarm.cancel()
