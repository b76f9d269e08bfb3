"""How the sessions of one listener are taken to servers where that is out of the ordinary: from which address, at how
many bytes a second, with small pieces held back. Made once for a relay thread and used on it; owns no descriptor.
"""

from __future__ import annotations

import socket
from socket import SocketType

from kubelb import log
from kubelb.config.proxying import OfClient, Source, compile_rate, compile_source
from kubelb.config.variables import Client, Worker
from kubelb.reasons import ValueFault, reason_of
from kubelb.snapshot import Listener

_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT, ip(7): the port is chosen when connecting, so each server can be connected to from all."""


class CannotBind(Exception):
    """The address to connect from is none of this machine's, or not for such servers."""


class Manner:
    """What cannot be made of a client's variables is logged, and is then as without the setting, as in nginx."""

    def __init__(self, listener: Listener, worker: Worker) -> None:
        """``worker`` knows the variables."""
        self._listener = listener
        self._up = compile_rate(listener.upload_rate, worker)
        self._down = compile_rate(listener.download_rate, worker)
        self._source = compile_source(listener.bind, worker)

    def receive(self, sock: SocketType) -> None:
        """A client's connection, or one to a server."""
        if not self._listener.nodelay and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def rates(self, client: Client) -> tuple[int, int]:
        """Bytes a second, up and down."""
        return self._rate(self._up, client), self._rate(self._down, client)

    def bind(self, sock: SocketType, client: Client) -> None:
        """Before connecting. Raises :class:`CannotBind`."""
        source = self._source_of(client)
        if source is None:
            return
        if sock.family == socket.AF_UNIX:
            raise CannotBind(f"{source[0]}: the server is a unix socket")
        try:
            if not source[1]:
                sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.bind(source)
        except OSError as error:
            raise CannotBind(f"{source[0]}: {reason_of(error)}") from None

    def _source_of(self, client: Client) -> Source | None:
        try:
            return self._source(client)
        except ValueFault as error:
            self._complain("bind", error)
            return None

    def _rate(self, rate: OfClient[int], client: Client) -> int:
        try:
            return rate(client)
        except ValueFault as error:
            self._complain("rate", error)
            return 0

    def _complain(self, setting: str, error: ValueFault) -> None:
        log.limited().error(
            "setting_without_value", listener=self._listener.address, setting=setting, reason=str(error)
        )


def manner_of(listener: Listener, worker: Worker) -> Manner | None:
    """None: nothing is out of the ordinary."""
    rates = {listener.upload_rate, listener.download_rate}
    return None if rates == {"0"} and not listener.bind and listener.nodelay else Manner(listener, worker)
