"""Whether the workers go by a snapshot yet: each relay thread tells in its row of the shared counters.

So who is told that a change is done can rely on it. Called on the thread that asks for the change: it waits.
"""

from __future__ import annotations

import time

import psutil

from kubelb.stats import Count, Table

_LOOK = 0.002
"""Seconds between two looks."""


def await_workers(table: Table, supervisor: int, version: int, within: float) -> tuple[str, ...]:
    """Return once all that accept clients go by this snapshot or a later one, or after so many seconds: a warning for
    each that does not. ``supervisor`` is the pid of ours; rows of another one's workers stay as they were left."""
    give_up_at = time.monotonic() + within
    while (behind := _behind(table, supervisor, version)) and time.monotonic() < give_up_at:
        time.sleep(_LOOK)
    return tuple(f"{name} (pid {pid}) has not heard of it yet" for name, pid in behind)


def _behind(table: Table, supervisor: int, version: int) -> list[tuple[str, int]]:
    """Names and pids."""
    rows = zip(*(table.each(0, count) for count in (Count.SNAPSHOT, Count.WORKER, Count.PID)), strict=False)
    found = {(f"worker-{worker - 1}", pid) for seen, worker, pid in rows if 0 < seen < version}
    return sorted((name, pid) for name, pid in found if _is_child(pid, supervisor))


def _is_child(pid: int, parent: int) -> bool:
    try:
        return psutil.Process(pid).ppid() == parent
    except psutil.Error:
        return False
