"""A server that answers whatever it hears with what is not TLS. One thread, which owns all of its sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_WORDS = b"\x15\x03\xff garbage \x00" * 8


@contextmanager
def garbage(host: str, port: int) -> Iterator[None]:
    """Within, it serves there. A client that says nothing is given up after a second."""
    listener = socket.create_server((host, port), backlog=256)
    thread = threading.Thread(target=_serve, args=(listener,), name="garbage")
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket) -> None:
    with listener:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.settimeout(1)
                client.recv(4096)
                client.sendall(_WORDS)
