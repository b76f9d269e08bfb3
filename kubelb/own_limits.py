"""Errors by which this node says that something of its own is used up, or not allowed; pure.

They are no peer's fault and evidence of nothing: what meets one ends at most the session it was met for. The errnos
are those that pipe(2), fcntl(2), epoll_ctl(2), socket(2), accept(2), connect(2) and tcp(7) name for it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from kubelb.reasons import reason

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})
"""Descriptors, the kernel's memory or its watches are used up; that passes."""
NOT_POSSIBLE_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EPERM, errno.EACCES})
"""Of a connect: no port is free towards that server (net.ipv4.ip_local_port_range), or a rule of this node forbids
it. Another server may still be reached."""
OWN: Final = EXHAUSTED | NOT_POSSIBLE_HERE
_CURES: Final[Mapping[int, str]] = {
    errno.EMFILE: "out of file descriptors; raise max_open_files",
    errno.ENFILE: "the system is out of file descriptors; raise fs.file-max",
    errno.ENOSPC: "the user is out of epoll watches; raise fs.epoll.max_user_watches",
    errno.EADDRNOTAVAIL: "no port is free towards that address; widen net.ipv4.ip_local_port_range",
    errno.EPERM: "a rule of this node's firewall or sandbox forbids it",
    errno.EACCES: "a rule of this node's firewall or sandbox forbids it",
}


def own_reason(number: int) -> str:
    """What is used up or forbidden, by its errno, and what to do about it."""
    return _CURES.get(number) or reason(number)
