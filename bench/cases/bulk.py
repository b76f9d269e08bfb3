"""Large transfers, several at once."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.faults import BenchFault
from bench.origin import BULK_BYTES
from bench.results import Metric, Sample
from bench.running import Running

RATE, CPU = Metric("GB/s"), Metric("CPU s/GB")

_REQUEST = b"GET /bulk HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_READ = 4 << 20


@dataclass(frozen=True)
class Bulk:
    """Batches of ``streams`` downloads, each over a connection of its own; GB are 10^9 bytes.

    The client is one thread a stream that takes whatever has come, as any client does, and lets the kernel throw it
    away (``MSG_TRUNC``, tcp(7)): wrk would copy everything out 8 KiB at a time, with the CPUs of what is measured.
    """

    streams: int = 4
    name: str = "bulk"
    fresh: bool = False
    metrics: tuple[Metric, ...] = (RATE, CPU)

    @property
    def title(self) -> str:
        return f"{self.streams} streams of {BULK_BYTES >> 20} MiB"

    def measure(self, peer: Running, seconds: int) -> Sample:
        received = errors = 0
        cpu_before, begun = peer.program.cpu_seconds(), time.monotonic()
        with ThreadPoolExecutor(self.streams) as pool:
            while not errors and (not received or time.monotonic() - begun < seconds):
                sizes = list(pool.map(_download, [peer] * self.streams))
                received += sum(sizes)
                errors += sum(size < BULK_BYTES for size in sizes)
        took, cpu = time.monotonic() - begun, peer.program.cpu_seconds() - cpu_before
        if not received:
            raise BenchFault("no byte came through it")
        gigabytes = received / 1e9
        return Sample({RATE.name: gigabytes / took, CPU.name: cpu / gigabytes}, errors)


def _download(peer: Running) -> int:
    """Bytes that came until the end, the reply's head counted; a reset or a stall is an end too."""
    total = 0
    unused = bytearray(_READ)
    with peer.connect() as connection:
        connection.sendall(_REQUEST)
        try:
            while size := connection.recv_into(unused, _READ, socket.MSG_TRUNC):
                total += size
        except (ConnectionError, TimeoutError):
            return total
    return total
