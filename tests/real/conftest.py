"""What the tests of real processes and sockets have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import leaks
from tests.support.identity import IdentityServers
from tests.support.proxy import EchoServers

no_leaks = leaks.no_leaks


@pytest.fixture(scope="module")
def servers() -> Iterator[IdentityServers]:
    with EchoServers() as echo_servers:
        yield echo_servers
