"""Binds the sockets that the proxy listens on; the supervisor owns them, its children only use them."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.values import Address

_BACKLOG = 4096
"""Clients that may wait to be accepted; the kernel lowers it to net.core.somaxconn."""


def listen(address: Address) -> socket.socket:
    """A non-blocking listening socket; what it accepts has TCP_NODELAY. Raises :class:`ConfigFault`."""
    try:
        family, kind, proto, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise _fault(address, error) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(target)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _fault(address, error) from None
    sock.setblocking(False)
    return sock


_CURES = {
    errno.EADDRINUSE: "stop what listens there (ss -ltnp shows it) or choose another address",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "listen on an address of this machine",
}


def _fault(address: Address, error: OSError) -> ConfigFault:
    cure = _CURES.get(error.errno or 0)
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error.strerror)
    return ConfigFault(Fault(what=f"cannot listen on {address}: {reason}", instead=cure))


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket that only this user may use, in place of a stale one. Raises :class:`ConfigFault`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        sock.listen(64)
    except OSError as error:
        sock.close()
        what = f"cannot listen on {path}: {error.strerror or error}"
        raise ConfigFault(Fault(what=what, instead="choose another --runtime-dir")) from None
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock
