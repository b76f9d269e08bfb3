"""The operator's own files that probes use, read anew once they have changed: authorities, certificate, key, token,
and the kubeconfig that names or holds them.

Used by control's main thread. The files are small and local; what is not a regular file is not opened, so reading
never waits. Each descriptor is closed where it was opened.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from kubelb.config.faults import ConfigFault, fault_of
from kubelb.config.files import read_text
from kubelb.config.kubeconfig import TOKEN, Pem, parse_kubeconfig
from kubelb.config.model.pools import Health
from kubelb.reasons import ValueFault, reason_of

Stamp = tuple[int, ...] | None
"""Device, inode, size and time of change of a file, where a symbolic link leads; None: it cannot be seen."""

_MAX_TOKEN = 64 * 1024


class OwnFault(Exception):
    """What the operator gave us for probes cannot be used, which says nothing about the server. The text begins with
    "own " and says what it is and why."""


class Credentials(NamedTuple):
    """Whom to trust, and as whom to ask. What is not there is None."""

    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    token: str | None = None
    token_file: str | None = None
    server_name: str = ""
    """What the server is to be called; empty: its host."""

    def read_token(self) -> str | None:
        """Raises :class:`OwnFault`."""
        return self.token if self.token_file is None else read_token(self.token_file)

    def stamps(self) -> list[Stamp]:
        """Of the files for TLS."""
        return [stamp(pem.name) for pem in self.pems() if pem.data is None]

    def check(self) -> None:
        """Raises :class:`OwnFault` for a file for TLS that cannot be read, or might be waited for."""
        for pem in self.pems():
            if pem.data is None:
                check(pem.name)

    def pems(self) -> list[Pem]:
        return [pem for pem in (self.ca, self.cert, self.key) if pem is not None]


class CredentialReader:
    """Knows the credentials for one server's probes, as the operator's files now are."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._stamp: Stamp = None
        self._read = None if health.kubeconfig is not None else _named_singly(health)

    def read(self) -> Credentials:
        """Raises :class:`OwnFault`."""
        file = self._health.kubeconfig
        if file is not None:
            # Looked at before it is read: a change between the two is noticed the next time.
            found = stamp(file)
            if self._read is None or found is None or found != self._stamp:
                self._read = _of_kubeconfig(file, self._health)
                self._stamp = found
        assert self._read is not None
        return self._read


def unusable(file: str, why: str) -> OwnFault:
    return OwnFault(f"own file {file}: {why}")


def read_token(file: str) -> str:
    """The bearer token in it. Raises :class:`OwnFault`."""
    check(file)
    try:
        with Path(file).open("rb") as opened:
            token = opened.read(_MAX_TOKEN + 1).strip()
    except OSError as error:
        raise unusable(file, reason_of(error)) from None
    if len(token) > _MAX_TOKEN or not TOKEN.fullmatch(token.decode("latin-1")):
        raise unusable(file, "not a bearer token")
    return token.decode("ascii")


def stamp(file: str) -> Stamp:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check(file: str) -> None:
    """Raises :class:`OwnFault` for what cannot be read or might be waited for."""
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):
            raise unusable(file, "not a regular file")
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise unusable(file, reason_of(error)) from None


def _named_singly(health: Health) -> Credentials:
    ca, cert, key = (
        None if file is None else Pem(file) for file in (health.ca_file, health.cert_file, health.key_file)
    )
    return Credentials(ca, cert, key, token_file=health.token_file, server_name=health.server_name)


def _of_kubeconfig(file: str, health: Health) -> Credentials:
    try:
        found = parse_kubeconfig(read_text(file), file)
    except ConfigFault as error:
        raise unusable(file, error.faults[0].what) from None
    except ValueFault as error:
        raise unusable(file, fault_of(error).what) from None
    if health.ca_file is not None:
        found = found._replace(ca=Pem(health.ca_file))
    elif unverified := found.unverified():
        raise unusable(file, unverified)
    server_name = health.server_name or found.server_name
    return Credentials(found.ca, found.cert, found.key, found.token, found.token_file, server_name)
