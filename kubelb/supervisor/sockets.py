"""All that the supervisor listens on: the listeners, the health endpoints, the admin side over TCP and admin.sock.

For its only thread; it owns the sockets. Workers get copies of the listeners' sockets, control inherits the others.
What is listened on may be there already: left by the supervisor before, or passed by systemd. Then nobody who waits
to be accepted is lost.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding
from kubelb.config.values import Address, parse_address
from kubelb.config.virtual import Virtual
from kubelb.supervisor.listeners import close_for_good, listen, listen_patiently, listen_unix, settle

Take = Callable[[Address], socket.socket | None]
"""The socket that is there for an address already, if any."""
ADMIN = "admin.sock"


class Sockets:
    def __init__(
        self, config: Config, path: Path, take: Take, admin: socket.socket | None, pause: float = 0.0
    ) -> None:
        """``path`` is that of admin.sock, ``admin`` the socket if it is there already. Where an address is in use, it
        is tried again after ``pause`` seconds; 0: it is not.

        Raises :class:`ConfigFault`, and leaves nothing bound that was not before.
        """
        self._path = path
        self._pending: dict[str, socket.socket] = {}
        self._closed = False
        with ExitStack() as undo:

            def have(address: Address, binding: Binding = Binding()) -> socket.socket:  # noqa: B008 (immutable)
                there = take(address)
                if there is None:
                    bound = listen_patiently(address, binding, pause)
                    undo.callback(close_for_good, bound)
                    return bound
                settle(undo.enter_context(there), binding)
                return there

            self.listening = {
                str(address): have(address, one.socket) for one in config.listeners for address in one.listen
            }
            """By address, as configured."""
            http = dict.fromkeys(address for one in config.http for address in one.listen)
            self._http = {str(address): (have(address), Virtual(config.http, address)) for address in http}
            self._web = {} if config.admin.listen is None else {str(config.admin.listen): have(config.admin.listen)}
            self.admin = admin or listen_unix(path)
            undo.pop_all()

    def bind(self, addresses: Mapping[str, Binding]) -> None:
        """Listen there too, for :meth:`newcomers`; nowhere, once it is not listened at all any more.

        Raises :class:`ConfigFault`, and listens on none of them then.
        """
        self.forget_pending()
        if self._closed:
            return
        try:
            for address, binding in addresses.items():
                if address not in self.listening:
                    self._pending[address] = listen(parse_address(address), binding)
        except ConfigFault:
            self.forget_pending()
            raise

    def forget_pending(self) -> None:
        for sock in self._pending.values():
            close_for_good(sock)
        self._pending = {}

    def surplus(self, wanted: Collection[str]) -> dict[str, socket.socket]:
        """The listeners' sockets that are not wanted any more, taken out: the caller's."""
        gone = {address: sock for address, sock in self.listening.items() if address not in wanted}
        self.listening = {address: sock for address, sock in self.listening.items() if address not in gone}
        return gone

    def newcomers(self, wanted: Collection[str]) -> Mapping[str, socket.socket]:
        """Those that were bound for this, which are listened on from now on."""
        new = {address: self._pending.pop(address) for address in wanted if address in self._pending}
        self.listening |= new
        return new

    @property
    def http(self) -> tuple[tuple[socket.socket, Virtual], ...]:
        return tuple(self._http.values())

    @property
    def web(self) -> socket.socket | None:
        return next(iter(self._web.values()), None)

    def for_control(self) -> list[socket.socket]:
        return [self.admin, *(sock for sock, _ in self._http.values()), *self._web.values()]

    def everything(self) -> list[socket.socket]:
        return [*self.listening.values(), *self._pending.values(), *self.for_control()]

    def named(self) -> dict[str, socket.socket]:
        """For the supervisor that succeeds this one: each by its address."""
        http = {address: sock for address, (sock, _) in self._http.items()}
        return {**self.listening, **http, **self._web, ADMIN: self.admin}

    def close_listening(self, for_good: bool) -> None:
        """No client is listened for any more. ``for_good``: nobody else listens there from now on."""
        self._closed = True
        self.forget_pending()
        for sock in self.listening.values():
            if for_good:
                close_for_good(sock)
            else:
                sock.close()
        self.listening = {}

    def close(self, for_good: bool) -> None:
        """``for_good``: nobody listens anywhere, nor answers on admin.sock, from now on."""
        self.close_listening(for_good)
        for sock in self.for_control():
            if for_good and sock is not self.admin:
                close_for_good(sock)
            else:
                sock.close()
        if for_good:
            self._path.unlink(missing_ok=True)
