"""Programs that answer on a port: started on a free one, waited for, measured, stopped.

Runs in the bench's main thread. The port is found by binding and closing, since nginx cannot take one from the
kernel; when another program is quicker the start is tried again with a new one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults import BenchFault
from bench.processes import Program

HOST = "127.0.0.1"
READY_SECONDS = 15.0
_ATTEMPTS = 3
_SMALL = b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n"


class Running:
    """A program that has answered its first request."""

    def __init__(self, program: Program, port: int, started_in: float) -> None:
        self.program = program
        self.port = port
        self.started_in = started_in
        """Seconds from its spawning to the first whole reply through it."""

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}{path}"

    def connect(self) -> socket.socket:
        """A connection to it, the caller's to close."""
        return socket.create_connection((HOST, self.port), timeout=READY_SECONDS)


@contextmanager
def running(name: str, command: Callable[[int], list[str]], directory: Path) -> Iterator[Running]:
    """The program ``command(port)`` starts, listening on that port, until the block ends.

    Raises :class:`BenchFault` with the end of its log if it does not come to answer within :data:`READY_SECONDS`.
    """
    log = directory / "output.log"
    for _ in range(_ATTEMPTS):
        port = _free_port()
        begun = time.monotonic()
        program = Program(command(port), log)
        try:
            if _answers(program, port, begun + READY_SECONDS):
                yield Running(program, port, time.monotonic() - begun)
                return
            gave_up = program.ended()
        finally:
            program.stop()
        if not gave_up:
            break
    raise BenchFault(f"{name} did not start: {program.log_tail() or 'it printed nothing'}")


def ask_small(connection: socket.socket) -> bool:
    """One keep-alive request for the small reply; whether it came."""
    connection.sendall(_SMALL)
    return connection.recv(4096).startswith(b"HTTP/1.1 200")


def _answers(program: Program, port: int, deadline: float) -> bool:
    """Ask until it answers; a millisecond apart, for the start itself is measured."""
    while time.monotonic() < deadline and not program.ended():
        try:
            with socket.create_connection((HOST, port), timeout=1) as connection:
                if ask_small(connection):
                    return True
        except (ConnectionError, TimeoutError):
            pass
        time.sleep(0.001)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
