"""A child of kubelb in an attacker's hands: the test, which is root, takes its descriptors and speaks in its name."""

from __future__ import annotations

import array
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "nobody"
_PIDFD_GETFD = 438
"""Its number on every architecture."""
_TAKE = f"""
import ctypes, os, sys
pid = int(sys.argv[1])
libc, process = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid)
found = [libc.syscall({_PIDFD_GETFD}, process, fd, 0) for fd in range(64)]
print(len([fd for fd in found if fd >= 0]), libc.ptrace(16, pid, 0, 0))
"""
"""How many descriptors of a process another can have, and whether it may trace it (PTRACE_ATTACH)."""


@contextmanager
def copy_of(pid: int, fd: int) -> Iterator[int]:
    """Within, a copy of a descriptor of that process. Raises :class:`OSError`."""
    process = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, fd, 0)
    finally:
        os.close(process)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield copy
    finally:
        os.close(copy)


def descriptors(pid: int, name: str) -> list[int]:
    """Those of that process that lead to something whose name begins like this."""
    directory = Path("/proc", str(pid), "fd")
    return [int(link.name) for link in directory.iterdir() if str(link.readlink()).startswith(name)]


@contextmanager
def channel_of(pid: int) -> Iterator[socket.socket]:
    """The child's end of the channel to the supervisor: the only SOCK_SEQPACKET that it has."""
    for fd in descriptors(pid, "socket:"):
        with copy_of(pid, fd) as copy:
            sock = socket.socket(fileno=os.dup(copy))
        if sock.type == socket.SOCK_SEQPACKET:
            break
        sock.close()
    else:
        raise AssertionError(f"{pid} has no channel")
    with sock:
        yield sock


def say(sock: socket.socket, data: bytes, *fds: int) -> None:
    """Whatever that is; the descriptors are closed here."""
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    for fd in fds:
        os.close(fd)


def reach_of_user(pid: int) -> tuple[int, int]:
    """How many descriptors of that process another one of the user gets, and what comes of tracing it: 0 or -1."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", _TAKE, str(pid)],
        user=USER,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    taken, traced = map(int, run.stdout.split())
    return taken, traced


def status_of(pid: int, field: str) -> str:
    """A line of /proc/PID/status."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    (value,) = (line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))
    return value
