"""What the proxy holds of the system while nothing happens, and whether that grows. Reads /proc."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil

from bench.footprint import footprint

MARK = "SOAKED"
"""In the environment of every process of the proxy, whoever its parent is."""
_MORE_FDS = 16
"""Descriptors that may be more: a relay thread keeps up to four spare pipes, or has none yet."""
_MORE_MEMORY = 0.10
_MORE_BYTES = 3 << 20
"""Memory may grow by so large a part, or by so many bytes: the allocators' leeway."""


class Holdings(NamedTuple):
    """Of all processes of the proxy together."""

    processes: int
    threads: int
    fds: int
    bytes: int
    """Of memory; see :mod:`bench.footprint`."""

    def __str__(self) -> str:
        megabytes = self.bytes / (1 << 20)
        return f"{self.processes} processes, {self.threads} threads, {self.fds} fds, {megabytes:.1f} MiB"


def processes(mark: str) -> list[psutil.Process]:
    """All of the proxy that has been started with this mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def measure(mark: str) -> Holdings:
    """As it is now. A process that ends meanwhile counts for nothing."""
    family = processes(mark)
    threads = fds = 0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            threads += process.num_threads()
            fds += process.num_fds()
    return Holdings(len(family), threads, fds, footprint(family))


class Trend(NamedTuple):
    """The medians of the first third and of the last third."""

    first: Holdings
    last: Holdings

    def limits(self) -> Holdings:
        """What may be held at the end."""
        first = self.first
        more = max(_MORE_BYTES, int(first.bytes * _MORE_MEMORY))
        return Holdings(first.processes, first.threads, first.fds + _MORE_FDS, first.bytes + more)

    def growth(self) -> list[str]:
        """What has grown by more than it may, a line each."""
        columns = zip(Holdings._fields, self.first, self.last, self.limits(), strict=True)
        return [f"{name}: {first} have become {last}" for name, first, last, limit in columns if last > limit]


def trend(samples: Sequence[Holdings]) -> Trend:
    """Of three samples or more."""
    third = len(samples) // 3
    return Trend(_median(samples[:third]), _median(samples[-third:]))


def _median(samples: Sequence[Holdings]) -> Holdings:
    return Holdings(*(int(statistics.median_high(column)) for column in zip(*samples, strict=True)))
