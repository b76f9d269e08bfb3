"""A program under test and all processes it starts: begun, read (CPU, memory) and ended by the bench.

The bench owns the process it spawns and nothing else: an end goes to that process first, and only what is left of its
tree after a deadline is killed, process by process.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil

from bench.footprint import footprint

STOP_SECONDS = 10.0
_LOG_TAIL = 1000


class Program:
    """A spawned program. ``stop`` must be called, however the measurement ends."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Its output goes to ``log``; a session of its own keeps the terminal's Ctrl-C to the bench alone."""
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._root = psutil.Process(self._child.pid)

    def ended(self) -> bool:
        return self._child.poll() is not None

    def log_tail(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL:].strip()

    def tree(self) -> list[psutil.Process]:
        """The program and its descendants, as they are now; empty when it has ended."""
        try:
            return [] if self.ended() else [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """User and system time the tree has taken so far, with that of descendants already reaped in it."""
        total = 0.0
        for process in self.tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_bytes(self) -> int:
        """Of the tree; see :mod:`bench.footprint`."""
        return footprint(self.tree())

    def stop(self) -> None:
        """Ask it to end; kill what is there :data:`STOP_SECONDS` later."""
        tree = self.tree()
        if not self.ended():
            self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        _gone, left = psutil.wait_procs(tree[1:], timeout=1)
        for process in left:
            process.kill()
