"""The memory a process tree would have as its PSS if no other program ran: read from /proc by the bench.

Plain PSS shares the pages of a program's file with all who map it. The bench maps the same interpreter as kubelb and
the origin the same nginx as the baseline, so each would look smaller than on a node where it is alone (kubelb by
about a sixth). Hence: anonymous and shared memory by PSS, which only the tree itself shares, and each file's pages
once, as many as the process with the most of them holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import psutil

_OWN = re.compile(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)

FilePart = tuple[str, str]
"""A file's path and the addresses it is mapped at; forked processes have them alike."""


def footprint(processes: Iterable[psutil.Process]) -> int:
    """Bytes. A process that has ended meanwhile counts for nothing."""
    own = 0
    files: list[dict[FilePart, int]] = []
    for process in processes:
        try:
            own += own_bytes(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
            files.append(_resident_files(process))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
    return own + sum(once(files).values())


def own_bytes(rollup: str) -> int:
    """Of the text of ``smaps_rollup`` (proc(5)): anonymous and shared memory, each process's part of it."""
    return sum(int(kilobytes) << 10 for kilobytes in _OWN.findall(rollup))


def once(files: Iterable[dict[FilePart, int]]) -> dict[FilePart, int]:
    """The most bytes of each part that one process holds."""
    most: dict[FilePart, int] = {}
    for held in files:
        for part, size in held.items():
            most[part] = max(size, most.get(part, 0))
    return most


def _resident_files(process: psutil.Process) -> dict[FilePart, int]:
    """Of every mapped file the resident bytes that are still the file's; deleted ones are shared memory."""
    return {
        (part.path, part.addr): part.rss - part.anonymous
        for part in process.memory_maps(grouped=False)
        if part.path.startswith("/") and not part.path.endswith("(deleted)")
    }
