"""One network for all tests here, with the same three servers in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.rig import A, B, C, Cluster, Visitors, proxied, wait_until_up
from tests.support import debian
from tests.support.eventually import eventually
from tests.support.leaks import Holdings
from tests.support.netns import Network, require_namespaces
from tests.support.proxy import Proxy


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(debian.IPROUTE2)


@pytest.fixture(scope="package")
def network() -> Iterator[Network]:
    require_namespaces()
    with Network() as network:
        yield network


@pytest.fixture(scope="package")
def servers(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(network, tmp_path_factory.mktemp("certificates"))
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(servers: Cluster) -> Cluster:
    """All of its servers run."""
    servers.start(A, B, C)
    return servers


@pytest.fixture
def no_leaks(cluster: Cluster) -> Iterator[None]:
    """As for other tests, but a stand-in may have become another process."""

    def now() -> Holdings:
        holdings = Holdings.now()
        return holdings._replace(children=holdings.children - cluster.pids())

    before = now()
    yield
    eventually(lambda: now().no_more_than(before), f"nothing is left behind, as before: {before}", deadline=10)


@pytest.fixture
def proxy(cluster: Cluster, tmp_path: Path) -> Iterator[Proxy]:
    """With probes as by default; it has found all servers up."""
    with proxied(cluster, tmp_path) as proxy:
        wait_until_up(proxy)
        yield proxy


@pytest.fixture
def visitors(proxy: Proxy, cluster: Cluster) -> Iterator[Visitors]:
    with Visitors(cluster) as visitors:
        yield visitors
