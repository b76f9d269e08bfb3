"""A stand-in for a kube-apiserver, a process in its server's namespace: TLS, HTTP/1.1, its name in every reply.

``python -m bench.failover.apiserver NAME HOST PEM`` prints when it began to listen, in seconds of the monotonic
clock. TERM is a graceful shutdown: ``/readyz`` answers 500 while all else is served as before for
:data:`~bench.failover.terms.DRAIN_SECONDS`, then it listens no more, closes each connection with its next reply (as
HTTP/2's GOAWAY does), and ends. It ends at once when its standard input does. The event loop owns all its sockets.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import sys
import time
from typing import Final, cast

from bench.failover.terms import DRAIN_SECONDS, PORT

_FAREWELL_SECONDS: Final = 1.0
"""How long clients have, once nobody listens, to ask once more and hear that the connection closes."""


class Apiserver:
    """What all its connections share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = True
        self.closing = False

    def reply(self, path: bytes, keep: bool) -> bytes:
        """The whole of it."""
        status = "500 Internal Server Error" if path == b"/readyz" and not self.ready else "200 OK"
        connection = "keep-alive" if keep else "close"
        head = f"HTTP/1.1 {status}\r\nServer: {self.name}\r\nConnection: {connection}\r\nContent-Length: 0\r\n\r\n"
        return head.encode()


class Connection(asyncio.Protocol):
    """Answers one request after the other."""

    def __init__(self, apiserver: Apiserver) -> None:
        self._apiserver = apiserver
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        _method, path, version = head.partition(b"\r\n")[0].split(b" ")
        keep = version == b"HTTP/1.1" and b"connection: close" not in head.lower() and not self._apiserver.closing
        self._transport.write(self._apiserver.reply(path, keep))
        if not keep:
            self._transport.close()


async def serve(name: str, host: str, pem: str) -> None:
    """Until told to end."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    apiserver, told, gone = Apiserver(name), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    loop.add_reader(sys.stdin, gone.set)
    server = await loop.create_server(lambda: Connection(apiserver), host, PORT, ssl=context, backlog=1024)
    print(time.monotonic(), flush=True)
    shutdown = loop.create_task(_shut_down(apiserver, server, told))
    await asyncio.wait([shutdown, loop.create_task(gone.wait())], return_when=asyncio.FIRST_COMPLETED)


async def _shut_down(apiserver: Apiserver, server: asyncio.Server, told: asyncio.Event) -> None:
    await told.wait()
    apiserver.ready = False
    await asyncio.sleep(DRAIN_SECONDS)
    server.close()
    apiserver.closing = True
    await asyncio.sleep(_FAREWELL_SECONDS)


if __name__ == "__main__":
    gc.disable()  # a collection in the middle of a measurement would be felt by all clients
    asyncio.run(serve(*sys.argv[1:]))
