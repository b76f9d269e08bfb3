"""Processes that may open only so many files more."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process, its threads all together, can open so many within, while none is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (number for number in itertools.count() if not _is_open(number))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_more_descriptors(process: psutil.Process) -> Iterator[None]:
    """Within, the process can open nothing."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    taken = {int(link.name) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    free = next(number for number in range(soft) if number not in taken)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
