"""Which addresses are this machine's, by what the kernel says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from kubelb.discovery.local import is_local
from tests.support.debian import IPROUTE2
from tests.support.netns import Namespace, require_namespaces

pytestmark = pytest.mark.usefixtures("no_leaks")

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@pytest.fixture
def node() -> Iterator[Namespace]:
    """A machine with two addresses of each kind, and a way to everywhere."""
    require_namespaces()
    with closing(Namespace()) as namespace:
        namespace.ip(
            "link add uplink type veth peer name beyond",
            "link set beyond up",
            "link set uplink up",
            "address add 10.0.0.2/24 dev uplink",
            "address add 10.0.0.100/32 dev uplink",
            "address add fd00::2/64 dev uplink nodad",
            "route add default via 10.0.0.1",
            "route add ::/0 via fd00::1",
        )
        yield namespace


OTHERS = ("10.0.0.1", "203.0.113.1", "10.0.0.255", "255.255.255.255", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1")


@IPROUTE2
def test_addresses_of_a_node(node: Namespace) -> None:
    with node.entered():
        for host in ("10.0.0.2", "10.0.0.100", "fd00::2", "FD00:0::2", "::ffff:10.0.0.2"):
            assert is_local(host), host
        for host in ("127.0.0.1", "127.1.2.3", "::1"):
            assert is_local(host), host
        assert not any(map(is_local, (*OTHERS, "fe80::3%uplink", "fe80::3")))


@IPROUTE2
def test_an_address_that_moves_here_and_away(node: Namespace) -> None:
    with node.entered():
        assert not is_local("10.0.0.9")
        node.ip("address add 10.0.0.9/32 dev uplink")
        assert is_local("10.0.0.9")
        node.ip("address delete 10.0.0.9/32 dev uplink")
        assert not is_local("10.0.0.9")


@IPROUTE2
def test_a_node_whose_programs_may_bind_to_any_address(node: Namespace) -> None:
    with node.entered():
        for version in ("ipv4", "ipv6"):
            Path(f"/proc/sys/net/{version}/ip_nonlocal_bind").write_text("1")
        assert not any(map(is_local, OTHERS))


@IPROUTE2
def test_where_no_way_leads() -> None:
    require_namespaces()
    with closing(Namespace()) as namespace, namespace.entered():
        assert not any(map(is_local, OTHERS))
        assert is_local("127.0.0.1")


def test_this_machine() -> None:
    """Link-local addresses are nobody's without the number of an interface, with which nobody connects here."""
    found = [one for of_one in psutil.net_if_addrs().values() for one in of_one if one.family in _FAMILIES]
    addresses = [one.address for one in found if "%" not in one.address]
    assert addresses
    assert all(map(is_local, addresses))
