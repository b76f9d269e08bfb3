"""The listening sockets that systemd has bound and passed (socket activation, systemd.socket(5)).

For the supervisor's only thread, at its start. :class:`Activated` owns the sockets until each is taken. One on an
address that nothing is configured to listen on would hold clients whom nobody serves, so it is refused.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import ExitStack

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.values import Address, same_host
from kubelb.reasons import reason_of
from kubelb.supervisor import listenfds
from kubelb.supervisor.listenfds import Passed

_TAKE_ADDRESSES = "let the socket unit have ListenStream=ADDRESS:PORT"
_TAKE_ONE_FAMILY = "let the socket unit have BindIPv6Only=ipv6-only, and ListenStream=0.0.0.0:PORT if IPv4 is wanted"


class Activated:
    def __init__(self, environment: MutableMapping[str, str], pid: int, configured: Iterable[Address]) -> None:
        """What is passed is meant for the process ``pid``; no child finds the variables of it in ``environment``.

        Raises :class:`ConfigFault` for each that is no listening TCP socket on one of the ``configured`` addresses.
        """
        passed = listenfds.take(environment, pid)
        with ExitStack() as undo:
            sockets = {each: undo.enter_context(_adopt(each)) for each in passed}
            self._sockets = _match(sockets, tuple(configured))
            undo.pop_all()

    def take(self, address: Address) -> socket.socket | None:
        """The one on that address, the caller's from now on: non-blocking, and what it accepts has TCP_NODELAY."""
        return self._sockets.pop(address, None)

    def close(self) -> None:
        """Those that have not been taken."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}


def _match(sockets: dict[Passed, socket.socket], configured: Sequence[Address]) -> dict[Address, socket.socket]:
    wanted = {_in_one_form(address): address for address in configured}
    found: dict[Address, socket.socket] = {}
    faults = []
    for passed, sock in sockets.items():
        bound = Address(*sock.getsockname()[:2])
        address = wanted.pop(_in_one_form(bound), None)
        if address is None:
            faults.append(_unwanted(passed, bound, configured))
        else:
            found[address] = sock
    if faults:
        raise ConfigFault(*faults)
    return found


def _in_one_form(address: Address) -> Address:
    return Address(same_host(address.host), address.port)


def _adopt(passed: Passed) -> socket.socket:
    try:
        sock = socket.socket(fileno=passed.fd)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOTSOCK):
            raise
        raise ConfigFault(_fault(passed, reason_of(error), _TAKE_ADDRESSES)) from None
    with ExitStack() as undo:
        undo.enter_context(sock)
        if fault := _refusal(passed, sock):
            raise ConfigFault(fault)
        sock.set_inheritable(False)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        undo.pop_all()
    return sock


def _refusal(passed: Passed, sock: socket.socket) -> Fault | None:
    if sock.family == socket.AF_UNIX:
        return _fault(passed, "kubelb has its unix sockets, and their files, to itself", _TAKE_ADDRESSES)
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.proto != socket.IPPROTO_TCP:
        return _fault(passed, "it is no TCP socket", _TAKE_ADDRESSES)
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return _fault(passed, "it does not listen", "let the socket unit have Accept=no")
    if sock.getsockname()[0] == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return _fault(passed, "it takes IPv4 too, which [::] does not mean here", _TAKE_ONE_FAMILY)
    return None


def _unwanted(passed: Passed, bound: Address, configured: Sequence[Address]) -> Fault:
    known = ", ".join(map(str, configured))
    return _fault(passed, f"nothing is configured to listen on {bound}", f"what is configured: {known}")


def _fault(passed: Passed, what: str, instead: str) -> Fault:
    return Fault(what=f"cannot use the socket {passed} that systemd has passed: {what}", instead=instead)
