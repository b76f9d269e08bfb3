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
from typing import TYPE_CHECKING, Any, NamedTuple

from kubelb.config.files import pem_path
from kubelb.config.kubeconfig import Pem
from kubelb.health.credentials import CredentialReader, Credentials, OwnFault, Stamp, unusable
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

    def __init__(self, reader: CredentialReader) -> None:
        self._reader = reader
        self._made: _Made | None = None

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
        if self._made is None or not isinstance(sock, TlsSocket) or sock.context is not self._made.context:
            return False
        try:
            return self._made.is_of(self._reader.read())
        except OwnFault:
            return False

    def _context(self) -> ssl.SSLContext:
        credentials = self._reader.read()
        if self._made is None or not self._made.is_of(credentials):
            # Looked at before they are read: a change between the two is noticed the next time.
            stamps = credentials.stamps()
            self._made = _Made(credentials, stamps, _make(credentials))
        return self._made.context


class _Made(NamedTuple):
    credentials: Credentials
    stamps: list[Stamp]
    context: ssl.SSLContext

    def is_of(self, credentials: Credentials) -> bool:
        """Whether these, and the files that they name, are still the same."""
        return self.credentials == credentials and self.stamps == credentials.stamps()


def _make(credentials: Credentials) -> ssl.SSLContext:
    credentials.check()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TlsSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if credentials.ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        # As Kubernetes' own clients (Go's crypto/x509) do: whatever is in the file is trusted, roots or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load_ca(context, credentials.ca)
    if credentials.cert is not None:
        _load_cert(context, credentials.cert, credentials.key or credentials.cert)
    return context


def _load_ca(context: ssl.SSLContext, ca: Pem) -> None:
    try:
        with pem_path(ca) as path:
            context.load_verify_locations(path)
    except OSError as error:
        raise unusable(ca.name, _file_words(error, "no certificates in it")) from None


def _load_cert(context: ssl.SSLContext, cert: Pem, key: Pem) -> None:
    try:
        with pem_path(cert) as chain_path, pem_path(key) as key_path:
            # Without a password OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(chain_path, key_path, password="")
    except OSError as error:
        raise unusable(cert.name, _file_words(error, "not a certificate and its key")) from None


def _file_words(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else reason_of(error)
