"""The operator's own files that probes use, read anew once they have changed: authorities, certificate, key, token.

Used by control's main thread. The files are small and local; what is not a regular file is not opened, so reading
never waits. Each descriptor is closed where it was opened.
"""

from __future__ import annotations

import re
import ssl
import stat
from pathlib import Path

from kubelb.config.model.pools import Health

_Stamp = tuple[int, ...] | None
"""Inode, size and time of change of a file; None: it cannot be seen."""

_MAX_TOKEN = 64 * 1024
_TOKEN = re.compile(rb"[!-~]+")


class OwnFault(Exception):
    """What the operator gave us for probes cannot be used, which says nothing about the server. The text begins with
    "own " and says what it is and why."""


def _unusable(file: str, why: str) -> OwnFault:
    return OwnFault(f"own file {file}: {why}")


class ClientTls:
    """Makes the TLS settings of one server's probes."""

    def __init__(self, health: Health) -> None:
        self._ca = health.ca_file
        self._cert = health.cert_file
        self._key = health.key_file
        self._files = [file for file in (self._ca, self._cert, self._key) if file is not None]
        self._made: tuple[list[_Stamp], ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """The settings as the files now are. Raises :class:`OwnFault`."""
        # Looked at before they are read: a change between the two is noticed the next time.
        stamps = self._stamps()
        if self._made is None or self._made[0] != stamps:
            self._made = stamps, self._make()
        return self._made[1]

    def is_current(self, context: ssl.SSLContext) -> bool:
        """Whether it is of the files as they now are."""
        return self._made is not None and self._made[1] is context and self._made[0] == self._stamps()

    def _make(self) -> ssl.SSLContext:
        for file in self._files:
            _check(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(file) for file in self._files]


def read_token(file: str) -> str:
    """The bearer token in it. Raises :class:`OwnFault`."""
    _check(file)
    try:
        with Path(file).open("rb") as opened:
            token = opened.read(_MAX_TOKEN + 1).strip()
    except OSError as error:
        raise _unusable(file, _words(error)) from None
    if len(token) > _MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise _unusable(file, "not a bearer token")
    return token.decode("ascii")


def _stamp(file: str) -> _Stamp:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check(file: str) -> None:
    """Raises :class:`OwnFault` for what cannot be read or might be waited for."""
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):
            raise _unusable(file, "not a regular file")
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise _unusable(file, _words(error)) from None


def _load_ca(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise _unusable(file, _ssl_words(error, "no certificates in it")) from None


def _load_cert(context: ssl.SSLContext, file: str, key: str | None) -> None:
    try:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(file, key, password="")
    except OSError as error:
        raise _unusable(file, _ssl_words(error, "not a certificate and its key")) from None


def _ssl_words(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else _words(error)


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
