"""TLS for probes: its settings, made of the operator's files, and a socket that speaks it without ever waiting.

Used by control's main thread. Loaded only once a pool is probed over TLS: OpenSSL is a few MB. A socket is whose it
was made for; each file is closed where it was opened.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any

from kubelb.config.model.pools import Health
from kubelb.health.credentials import Stamp, check, stamp, unusable
from kubelb.health.http import PeerFault
from kubelb.health.steps import Steps, Waiting, patiently, unconnected
from kubelb.reasons import reason_of
from kubelb.snapshot import SocketAddress
from kubelb.tls_reasons import tls_reason_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class TlsSocket(ssl.SSLSocket):
    """Says what it waits for by :class:`~kubelb.health.steps.Waiting`, and what is wrong with the server's TLS by
    :class:`~kubelb.health.http.PeerFault`."""

    def connect_ex(self, addr: Any) -> int:
        with self._told():
            return super().connect_ex(addr)

    def do_handshake(self, block: bool = False) -> None:
        with self._told():
            super().do_handshake(block)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        with self._told():
            return super().recv(buflen, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        with self._told():
            return super().send(data, flags)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLWantReadError:
            raise Waiting(EVENT_READ) from None
        except ssl.SSLWantWriteError:
            raise Waiting(EVENT_WRITE) from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise PeerFault("TLS: connection closed") from None
        except ssl.SSLError as fault:
            raise PeerFault(f"TLS: {tls_reason_of(fault, str(self.server_hostname))}") from None


class ClientTls:
    """Makes the TLS settings of one server's probes, and their sockets."""

    def __init__(self, health: Health) -> None:
        self._ca = health.ca_file
        self._cert = health.cert_file
        self._key = health.key_file
        self._files = [file for file in (self._ca, self._cert, self._key) if file is not None]
        self._made: tuple[list[Stamp], ssl.SSLContext] | None = None

    def unconnected(self, address: SocketAddress, name: str) -> TlsSocket:
        """To a server of that name, with the settings as the files now are. Raises :class:`OwnFault`."""
        context = self._context()
        # Wrapped before it connects: wrapping looks at the connection, and might find it gone already.
        sock = context.wrap_socket(unconnected(address), do_handshake_on_connect=False, server_hostname=name)
        assert isinstance(sock, TlsSocket)
        return sock

    def handshake(self, sock: socket.socket) -> Steps[str]:
        """On one of :meth:`unconnected` that has connected. Gives the version that is spoken."""
        assert isinstance(sock, TlsSocket)
        yield from patiently(sock.do_handshake, EVENT_READ)
        return sock.version() or ""

    def is_current(self, sock: socket.socket) -> bool:
        """Whether it was made of the files as they now are."""
        if self._made is None or not isinstance(sock, TlsSocket):
            return False
        return self._made[1] is sock.context and self._made[0] == self._stamps()

    def _context(self) -> ssl.SSLContext:
        # Looked at before they are read: a change between the two is noticed the next time.
        stamps = self._stamps()
        if self._made is None or self._made[0] != stamps:
            self._made = stamps, self._make()
        return self._made[1]

    def _make(self) -> ssl.SSLContext:
        for file in self._files:
            check(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.sslsocket_class = TlsSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            # As Kubernetes' own clients (Go's crypto/x509) do: whatever is in the file is trusted, roots or not.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            _load_ca(context, self._ca)
        if self._cert is not None:
            _load_cert(context, self._cert, self._key)
        return context

    def _stamps(self) -> list[Stamp]:
        return [stamp(file) for file in self._files]


def _load_ca(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise unusable(file, _file_words(error, "no certificates in it")) from None


def _load_cert(context: ssl.SSLContext, file: str, key: str | None) -> None:
    try:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(file, key, password="")
    except OSError as error:
        raise unusable(file, _file_words(error, "not a certificate and its key")) from None


def _file_words(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else reason_of(error)
