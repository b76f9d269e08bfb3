"""Which processes have an address that cannot be listened on, found in /proc as ss(8) does it.

For the supervisor, once it has a fault to tell of: it takes a look at every descriptor of the machine. Processes of
other users, of other containers and of other networks are not seen unless this one may see them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from kubelb.config.values import Address
from kubelb.inet import packed_host, unmapped

_PROC: Final = Path("/proc")
_LISTEN: Final = 0x0A
"""TCP_LISTEN, include/net/tcp_states.h."""
_COUNTERS: Final = "/memfd:kubelb-counters"
"""The link of a descriptor that every process of a kubelb has (:class:`kubelb.stats.Table`)."""


class Occupant(NamedTuple):
    pid: int
    name: str
    orphaned: bool
    """Whether it is a child of a kubelb whose supervisor is gone."""

    def __str__(self) -> str:
        whose = "left by a kubelb whose supervisor is gone" if self.orphaned else self.name
        return f"process {self.pid} ({whose})"


class _Held(NamedTuple):
    """A TCP socket."""

    address: bytes
    port: int
    state: int
    inode: int


def occupants(address: Address) -> list[Occupant]:
    """Those who have it, by their numbers, without the children of those that are named already."""
    # The kernel gives its tables in pieces, between which others come and go: one look may miss something.
    holders = _look(address) or _look(address)
    parents = {pid: _parent(pid) for pid in holders}
    return [Occupant(pid, _name(pid), _is_orphaned(pid)) for pid in holders if parents[pid] not in holders]


def _look(address: Address) -> list[int]:
    inodes = _unix_inodes(address.path) if address.path is not None else _tcp_inodes(address)
    return sorted(_holders(inodes)) if inodes else []


def _unix_inodes(path: str) -> set[int]:
    """Of the sockets that are bound to that path: they are in the file's place, or were."""
    lines = (line.split(maxsplit=7) for line in _lines("net/unix"))
    return {int(fields[6]) for fields in lines if len(fields) == 8 and fields[7] == path}


def _tcp_inodes(address: Address) -> set[int]:
    """Of the sockets that are in the way. Those that listen are, if there are any."""
    wanted = unmapped(packed_host(address.host))
    held = [one for one in _held() if one.port == address.port and one.inode and _collide(wanted, one.address)]
    listening = [one for one in held if one.state == _LISTEN]
    return {one.inode for one in listening or held}


def _collide(one: bytes, other: bytes) -> bool:
    """Whether both cannot be bound at one port, as far as can be told; ``::`` may take IPv4, too."""
    alike = len(one) == len(other) or any(len(each) == 16 and not any(each) for each in (one, other))
    return alike and (one == other or not any(one) or not any(other))


def _held() -> Iterator[_Held]:
    """The TCP sockets of this network (proc_net_tcp, the kernel's Documentation/networking)."""
    for table in ("net/tcp", "net/tcp6"):
        for line in _lines(table)[1:]:
            fields = line.split()
            host, _, port = fields[1].partition(":")
            words = (int(host[at : at + 8], 16) for at in range(0, len(host), 8))
            address = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
            yield _Held(unmapped(address), int(port, 16), int(fields[3], 16), int(fields[9]))


def _lines(name: str) -> list[str]:
    """Of a table of this network; none, where there is no such table, such as without IPv6."""
    try:
        return (_PROC / "self" / name).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _holders(inodes: Collection[int]) -> Iterator[int]:
    """The processes that have one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in _processes():
        if any(link in wanted for _, link in _links(pid)):
            yield pid


def _processes() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _is_orphaned(pid: int) -> bool:
    """Whether it counts in a table of counters, as every process of a kubelb does, and its parent does not."""
    parent, tables = _parent(pid), _tables(pid)
    if os.access(_PROC / str(parent) / "fd", os.R_OK):
        return bool(tables) and tables.isdisjoint(_tables(parent))
    return bool(tables) and _name(parent) != _name(pid)


def _tables(pid: int) -> set[int]:
    """The numbers of the files that are tables of counters, of those that a process has open."""
    found = set[int]()
    for fd, link in _links(pid):
        if link.startswith(_COUNTERS):
            with suppress(OSError):
                found.add(Path(fd).stat().st_ino)
    return found


def _links(pid: int) -> list[tuple[str, str]]:
    """The descriptors of a process, and what each is of; none of one that has gone, or is not this one's to see. The
    file itself is not asked for anything: it may be on a file system that does not answer."""
    links: list[tuple[str, str]] = []
    with suppress(OSError), os.scandir(_PROC / str(pid) / "fd") as descriptors:
        for fd in descriptors:
            with suppress(OSError):
                links.append((fd.path, os.readlink(fd.path)))  # noqa: PTH115 (a Path takes twice as long)
    return links


def _parent(pid: int) -> int:
    """0: it has gone."""
    try:
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return "gone"
