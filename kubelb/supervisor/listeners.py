"""Binds the sockets that the proxy listens on; the supervisor owns them, its children only use them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from kubelb import log
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model.listeners import Binding
from kubelb.config.values import Address, Duration
from kubelb.reasons import reason_of
from kubelb.supervisor.occupants import occupants
from kubelb.unix_path import within_reach

_SOCKET, _TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP


def listen(address: Address, binding: Binding = Binding()) -> socket.socket:  # noqa: B008 (immutable)
    """A non-blocking listening socket; what it accepts has TCP_NODELAY. Raises :class:`ConfigFault`."""
    if address.path is not None:
        return _listen_at(Path(address.path), binding)
    try:
        family, kind, proto, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise _fault(address, error) from None
    try:
        sock.setsockopt(_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, binding.ipv6_only)
        sock.bind(target)
        settle(sock, binding)
    except OSError as error:
        sock.close()
        raise _fault(address, error) from None
    sock.setblocking(False)
    return sock


def listen_patiently(address: Address, binding: Binding, pause: float) -> socket.socket:
    """As :func:`listen`, which is tried several times where the address is in use: this many seconds apart, or, where
    that is 0, once. In the end the fault says who has it."""
    for left in range(BIND_ATTEMPTS - 1 if pause else 0, 0, -1):
        try:
            return listen(address, binding)
        except AddressInUse as error:
            log.get().warning("address_in_use", fault=str(error), attempts_left=left)
            time.sleep(pause)
    try:
        return listen(address, binding)
    except AddressInUse as error:
        raise error.explained() from None


def settle(sock: socket.socket, binding: Binding) -> None:
    """Have a bound socket listen with these options, also one that listens already. Raises :class:`OSError`."""
    for level, option, value in _options(binding):
        if value and (level == _SOCKET or sock.family != socket.AF_UNIX):
            sock.setsockopt(level, option, value)
    sock.listen(binding.backlog)


_SIGN_OF_LIFE = Binding(keepalive=True, keepalive_idle=Duration(45), keepalive_interval=Duration(15))
_VANISHED = 105_000
"""Milliseconds of silence after which a client is gone, where the listener says nothing of keepalive: so that it has
been asked, and is noticed within two minutes (TCP_USER_TIMEOUT, tcp(7))."""


def _options(binding: Binding) -> list[tuple[int, int, int]]:
    """What it accepts has them too: the kernel copies them."""
    return [
        *_keepalive(binding),
        (_TCP, socket.TCP_USER_TIMEOUT, 0 if binding.keepalive else _VANISHED),
        (_SOCKET, socket.SO_RCVBUF, binding.receive_buffer or 0),
        (_SOCKET, socket.SO_SNDBUF, binding.send_buffer or 0),
        (_TCP, socket.TCP_FASTOPEN, binding.fast_open),
    ]


def _keepalive(binding: Binding) -> list[tuple[int, int, int]]:
    asked = binding if binding.keepalive else _SIGN_OF_LIFE
    return [
        (_SOCKET, socket.SO_KEEPALIVE, int(asked.keepalive)),
        (_TCP, socket.TCP_KEEPIDLE, int(asked.keepalive_idle)),
        (_TCP, socket.TCP_KEEPINTVL, int(asked.keepalive_interval)),
        (_TCP, socket.TCP_KEEPCNT, asked.keepalive_count),
    ]


_CURES = {
    errno.EADDRINUSE: "stop what listens there (ss -ltnp shows it) or choose another address",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "listen on an address of this machine",
}
_UNIX_CURES = {
    errno.EADDRINUSE: "stop what listens there, remove the file, or choose another path",
    errno.EACCES: "let kubelb write to its directory, or choose another path",
    errno.ENOENT: "make its directory, or choose another path",
}


_STOP_IT: Final = "stop what listens there, or choose another address"
BIND_ATTEMPTS: Final = 5


class AddressInUse(ConfigFault):
    """Somebody else listens there still. It may be about to end: nginx tries five times, half a second apart
    (``ngx_open_listening_sockets``, src/core/ngx_connection.c)."""

    def __init__(self, address: Address, fault: Fault) -> None:
        super().__init__(fault)
        self._address = address
        self._fault = fault

    def explained(self) -> AddressInUse:
        """The same with who has the address, as far as can be seen from here."""
        found = occupants(self._address)
        if not found:
            return self
        what = f"{self._fault.what} by {' and '.join(map(str, found))}"
        left = [str(one.pid) for one in found if one.orphaned]
        instead = f"end {'them' if left[1:] else 'it'}: kill -9 {' '.join(left)}" if left else _STOP_IT
        return AddressInUse(self._address, Fault(what=what, instead=instead))


def _fault(address: Address, error: OSError) -> ConfigFault:
    cure = (_CURES if address.path is None else _UNIX_CURES).get(error.errno or 0)
    fault = Fault(what=f"cannot listen on {address}: {reason_of(error)}", instead=cure)
    return AddressInUse(address, fault) if error.errno == errno.EADDRINUSE else ConfigFault(fault)


def _listen_at(path: Path, binding: Binding) -> socket.socket:
    """On a unix socket that everybody may connect to who gets at it, as in nginx."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o111)
    try:
        if _is_stale(path):
            path.unlink()
        sock.bind(str(path))
        settle(sock, binding)
    except OSError as error:
        sock.close()
        raise _fault(Address(f"unix:{path}", 0), error) from None
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def _is_stale(path: Path) -> bool:
    """Whether it is a socket that nobody listens on: of a proxy that was killed."""
    if not _is_socket(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def close_for_good(sock: socket.socket) -> None:
    """With the file, where it is a unix socket: nobody else listens there."""
    if sock.family == socket.AF_UNIX:
        remove(Path(sock.getsockname()))
    sock.close()


def remove(path: Path) -> None:
    """The file of a unix socket, and no other that somebody has put there meanwhile. One that stays is replaced by
    whoever listens there next."""
    with suppress(OSError):
        if _is_socket(path):
            path.unlink()


def _is_socket(path: Path) -> bool:
    """That itself, not what a symbolic link leads to."""
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket that only this user may use, in place of a stale one. Raises :class:`ConfigFault`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        with within_reach(path) as name:
            sock.bind(name)
        sock.listen(64)
    except OSError as error:
        sock.close()
        what = f"cannot listen on {path}: {reason_of(error)}"
        raise ConfigFault(Fault(what=what, instead="choose another --runtime-dir")) from None
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock
