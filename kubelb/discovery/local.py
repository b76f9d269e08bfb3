"""Which addresses are this machine's own, in the network that this process is in.

Runs in the command, the supervisor's reader, and on control's loop: it never waits, and owns its socket for a moment.
"""

from __future__ import annotations

import socket
from typing import Final

from kubelb.config.loops import is_loopback
from kubelb.inet import packed_host, shown, unmapped

_ANY_PORT: Final = 9


def is_local(host: str) -> bool:
    """Whether connections to this IP address stay on this machine.

    The kernel is asked for its way there, as it would be for a dial: to an address of its own it goes from that very
    address. Connecting a UDP socket sends nothing. That is one question whatever interfaces there are (a node has one
    for each of its pods), it is right in the moment it is asked, and net.ipv4.ip_nonlocal_bind, by which one could
    bind to anybody's address, does not mislead it.
    """
    if is_loopback(host):
        return True
    address = unmapped(packed_host(host))
    family, asked = (socket.AF_INET, shown(address)) if len(address) == 4 else (socket.AF_INET6, host)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((asked, _ANY_PORT))
            return packed_host(sock.getsockname()[0]) == address
    except OSError:
        # No way leads there, or nothing is left here to ask by: a dial would meet the same.
        return False
