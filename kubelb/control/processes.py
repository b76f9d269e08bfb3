"""What the proxy's processes take, as the kernel tells.

Runs in control, on the thread that asks: these are files of /proc, and the kernel may take its time over them.
"""

from __future__ import annotations

import os

import psutil

from kubelb.control.metrics import Usage
from kubelb.stats import Count, Table


def usages(supervisor: int, table: Table) -> tuple[Usage, ...]:
    """Of each process that is there; to be called in control. ``supervisor`` is that one's pid."""
    found = [_usage("supervisor", supervisor), _usage("control", os.getpid())]
    found += [_usage(name, pid, parent=supervisor) for name, pid in _workers(table).items()]
    return tuple(usage for usage in found if usage is not None)


def _workers(table: Table) -> dict[str, int]:
    """As they have signed in, with their pids; one of a number, though another may be leaving."""
    signed = zip(table.each(0, Count.WORKER), table.each(0, Count.PID), strict=False)
    return {f"worker-{number - 1}": pid for number, pid in sorted(signed) if number}


def _usage(name: str, pid: int, parent: int | None = None) -> Usage | None:
    """None where there is no such process, or where it is no child of ``parent``: its number is a stranger's now."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if parent not in (None, process.ppid()):
                return None
            times = process.cpu_times()
            return Usage(name, times.user + times.system, process.memory_full_info().pss, process.num_fds())
    except psutil.Error:
        return None
