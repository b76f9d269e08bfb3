"""What every comparison with nginx needs: nginx itself, and servers that say who they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubelb.snapshot import SocketAddress
from tests.support import debian
from tests.support.identity import IdentityServers, refusing
from tests.support.nginx import require_nginx
from tests.support.requirements import loopbacks

_HOSTS = [f"127.0.0.{last}" for last in range(1, 12)]


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(debian.NGINX)


@pytest.fixture(scope="session", autouse=True)
def nginx() -> str:
    return require_nginx()


@pytest.fixture(scope="module")
def reachable() -> Iterator[list[SocketAddress]]:
    """Servers that answer and close."""
    with IdentityServers([*_HOSTS, *loopbacks()[1:]]) as servers:
        yield servers.addresses


@pytest.fixture(scope="module")
def staying() -> Iterator[list[SocketAddress]]:
    """Servers that answer and stay until the client leaves."""
    with IdentityServers(_HOSTS, stay=True) as servers:
        yield servers.addresses


@pytest.fixture(scope="module")
def unreachable() -> Iterator[list[SocketAddress]]:
    """Addresses that refuse connections."""
    with refusing(_HOSTS) as addresses:
        yield addresses
