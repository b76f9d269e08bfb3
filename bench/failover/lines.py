"""One TLS connection of a client, with HTTP/1.1 on it. The client process's event loop owns it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

FAULTS = (OSError, EOFError, asyncio.TimeoutError)
"""What a client may meet: SSLError is an OSError, IncompleteReadError an EOFError."""


class Reply(NamedTuple):
    """The head of one."""

    server: str
    """Who answers."""
    status: int
    length: int
    """The body has so many bytes."""
    lasts: bool
    """The connection takes further requests."""


class Line:
    """A connection through the balancer. The client that dialled it closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.server = ""
        """Who answered last; empty: nobody yet."""

    @property
    def ended(self) -> bool:
        """Nothing can be asked on it any more."""
        return self._writer.is_closing() or self._reader.at_eof() or self._reader.exception() is not None

    async def ask(self, path: str) -> Reply:
        """The reply's head; its body is still to be read."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: kube-apiserver\r\n\r\n".encode())
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        fields = dict(line.split(": ", 1) for line in lines[:-1])
        self.server = fields["Server"]
        lasts = fields["Connection"] == "keep-alive"
        return Reply(self.server, int(first.split(" ")[1]), int(fields["Content-Length"]), lasts)

    async def read_body(self, length: int) -> None:
        """Reads the body to its end, however long that takes."""
        while length:
            read = len(await self._reader.read(min(length, 65536)))
            if not read:
                raise EOFError
            length -= read

    async def wait_for_end(self) -> None:
        with suppress(*FAULTS):
            await self._reader.read()

    def close(self) -> None:
        self._writer.transport.abort()
