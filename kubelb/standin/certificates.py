"""Certificates made on the spot: an authority, and one server certificate for the loopback and what else is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """The files :func:`make` wrote, PEM each."""

    authority: Path
    """What a client trusts."""
    server: Path
    """A server's private key and its chain; for whoever may read the directory."""


def make(directory: Path, *names: str) -> Certificates:
    """Write both into ``directory``, which exists and is the caller's. ``names`` are further hosts and addresses."""
    made = Certificates(directory / "ca.crt", directory / "server.pem")
    authority = trustme.CA(organization_name="kubelb demo")
    authority.cert_pem.write_to_path(str(made.authority))
    authority.issue_cert("127.0.0.1", "::1", "localhost", *names).private_key_and_cert_chain_pem.write_to_path(
        str(made.server)
    )
    return made
