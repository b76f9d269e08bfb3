"""Servers that say who they are: each sends its own address and a line end to every client, and closes.

With them a test of balancing is an equality: what the client reads is the server that was picked.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType

_WAKE, _LISTENER, _CLIENT = range(3)

_NO_LINGER = struct.pack("ii", 1, 0)


class IdentityServers:
    """Listeners on ports of the kernel's choice, served by one thread, which owns all of their sockets.

    With ``stay`` they do not close until the client does, so sessions can be kept open.
    """

    def __init__(self, hosts: Iterable[str], *, stay: bool = False) -> None:
        self._stay = stay
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, _WAKE)
        self.addresses: list[tuple[str, int]] = []
        """Where they listen, in the order of ``hosts``; one at 0.0.0.0 says the address it was reached at."""
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, 0), family=family, backlog=511)
            listener.setblocking(False)
            self.addresses.append(listener.getsockname()[:2])
            self._selector.register(listener, selectors.EVENT_READ, _LISTENER)
        self._thread = threading.Thread(target=self._serve, name="identity")

    def __enter__(self) -> IdentityServers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if key.data == _WAKE:
                    return self._close()
                if key.data == _LISTENER:
                    self._greet(key.fileobj)
                else:
                    self._hear(key.fileobj)

    def _greet(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        with suppress(ConnectionError):
            client.sendall(f"{name_of(client.getsockname()[:2])}\n".encode())
        if self._stay:
            self._selector.register(client, selectors.EVENT_READ, _CLIENT)
        else:
            client.close()

    def _hear(self, client: socket.socket) -> None:
        with suppress(ConnectionError):
            if client.recv(65536):
                return
        self._selector.unregister(client)
        client.close()

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def name_of(address: tuple[str, int]) -> str:
    """What the server at ``address`` says."""
    return "[{}]:{}".format(*address) if ":" in address[0] else "{}:{}".format(*address)


def ask(address: tuple[str, int], source: str | None = None) -> str:
    """Connect, from ``source``, and read to the end: the name of the server reached; "" if nobody answered."""
    client, name = keep(address, source)
    leave(client)
    return name


def asked(address: tuple[str, int], source: str | None = None) -> str:
    """As :func:`ask`; "" also where the client is reset."""
    try:
        return ask(address, source)
    except ConnectionResetError:
        return ""


def keep(address: tuple[str, int], source: str | None = None) -> tuple[socket.socket, str]:
    """Connect as :func:`ask` does, but stay connected; :func:`leave` ends it."""
    client = socket.create_connection(address, timeout=30, source_address=(source, 0) if source else None)
    said = b""
    with suppress(ConnectionResetError):
        while not said.endswith(b"\n") and (piece := client.recv(256)):
            said += piece
    return client, said.decode().rstrip("\n")


def reset(sock: socket.socket) -> None:
    """End the session with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.close()


def leave(client: socket.socket) -> None:
    """End the session and return when the other side has ended it too."""
    with client, suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        while client.recv(256):
            pass


@contextmanager
def refusing(hosts: Sequence[str]) -> Iterator[list[tuple[str, int]]]:
    """Addresses at which nothing listens, and nothing else will: their ports are taken."""
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in hosts]
        for holder, host in zip(holders, hosts, strict=True):
            holder.bind((host, 0))
        yield [holder.getsockname() for holder in holders]
