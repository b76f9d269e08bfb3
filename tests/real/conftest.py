"""What the tests of real processes and sockets have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubelb.snapshot import SocketAddress
from tests.support import leaks
from tests.support.identity import IdentityServers, refusing
from tests.support.proxy import EchoServers

no_leaks = leaks.no_leaks


@pytest.fixture(scope="module")
def servers() -> Iterator[IdentityServers]:
    with EchoServers() as echo_servers:
        yield echo_servers


@pytest.fixture(scope="module")
def answering() -> Iterator[list[SocketAddress]]:
    """Where two servers say who they are, and close."""
    with IdentityServers(["127.0.0.1", "127.0.0.2"]) as servers:
        yield servers.addresses


@pytest.fixture
def refuser() -> Iterator[SocketAddress]:
    """Where nobody listens."""
    with refusing(["127.0.0.1"]) as (address,):
        yield address
