"""Lookups at real DNS servers, good and bad ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kubelb.config.model.pools import Discovery
from kubelb.config.values import Address, Duration
from kubelb.discovery.dns import Found, LookupFault, look_up, look_up_service
from kubelb.discovery.targets import Target
from tests.support.identity import refusing
from tests.support.nameserver import a_name_server

pytestmark = pytest.mark.usefixtures("no_leaks")

NAME = "api.example.org"


def a_discovery(*servers: tuple[str, int], timeout: float = 10, **settings: Any) -> Discovery:
    resolver = tuple(Address(*server) for server in servers)
    return Discovery(source="dns", resolver=resolver, timeout=Duration(timeout), **settings)


def at(*hosts: str, ttl: int | None) -> Found:
    return Found((Target(hosts),), ttl)


def test_both_kinds_of_addresses_or_one() -> None:
    with a_name_server() as names:
        names.hosts[NAME], names.ttl = ["10.0.0.1", "fd00::1", "10.0.0.2"], 7
        assert look_up(NAME, a_discovery(names.address)) == at("10.0.0.1", "10.0.0.2", "fd00::1", ttl=7)
        assert look_up(NAME, a_discovery(names.address, ipv6=False)) == at("10.0.0.1", "10.0.0.2", ttl=7)
        assert look_up(NAME, a_discovery(names.address, ipv4=False)) == at("fd00::1", ttl=7)


def test_the_next_server_is_asked_where_one_is_of_no_use() -> None:
    with (
        a_name_server() as silent,
        a_name_server() as failing,
        a_name_server() as names,
        refusing(["127.0.0.1"]) as no,
    ):
        silent.silent, failing.code, names.hosts[NAME] = True, 5, ["10.0.0.1"]
        asked = a_discovery(no[0], silent.address, failing.address, names.address, timeout=2)
        assert look_up(NAME, asked) == at("10.0.0.1", ttl=0)
        # For the second kind of addresses nobody is asked in vain again.
        assert silent.asked == failing.asked == ["udp"]
        assert names.asked == ["udp", "udp"]


def test_one_that_fails_is_asked_twice() -> None:
    with a_name_server() as failing:
        failing.code = 5
        with pytest.raises(LookupFault, match=rf"127.0.0.1:{failing.address[1]}: refused"):
            look_up(NAME, a_discovery(failing.address))
        assert failing.asked == ["udp"] * 4


@pytest.mark.parametrize("code", [2, 3, 4])
def test_one_kind_of_addresses_will_do(code: int) -> None:
    with a_name_server() as names:
        names.hosts[NAME], names.codes[28] = ["10.0.0.1", "fd00::1"], code
        found = look_up(NAME, a_discovery(names.address))
        assert found.targets == (Target(("10.0.0.1",), unsaid=(6,)),)
        assert [fault.partition(":")[0] for fault in found.faults] == ["AAAA"]
        names.services[SERVICE] = [(10, 5, 6443, NAME)]
        found = look_up_service(SERVICE, a_discovery(names.address))
        assert found.targets == (Target(("10.0.0.1",), NAME, 6443, 10, 5, unsaid=(6,)),)
        assert [fault.partition(": ")[0] for fault in found.faults] == [NAME]


def test_what_there_is_not_is_asked_for_once_of_each_kind() -> None:
    with a_name_server() as names:
        with pytest.raises(LookupFault, match="no such name"):
            look_up(NAME, a_discovery(names.address))
        assert names.asked == ["udp", "udp"]


def test_a_server_that_is_not_there() -> None:
    with refusing(["127.0.0.1"]) as (nobody,), pytest.raises(LookupFault, match="connection refused"):
        look_up(NAME, a_discovery(nobody))


def test_what_is_no_host_name() -> None:
    with pytest.raises(LookupFault, match="not a host name"):
        look_up("a..b", a_discovery(("127.0.0.1", 1)))
    with pytest.raises(LookupFault, match="not a host name"):
        look_up("a..b", a_discovery())


def test_the_system_knows_this_machine() -> None:
    assert look_up("localhost", a_discovery(ipv6=False)) == at("127.0.0.1", ttl=None)
    with pytest.raises(LookupFault):
        look_up("no.such.name.invalid", a_discovery())


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, int]]:
    """A DNS server that says the same to two questions for each kind of address, behind their header and question."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            for _ in range(4):
                asked, client = sock.recvfrom(512)
                sock.sendto(asked[:2] + b"\x81\x80" + asked[4:6] + b"\0\1\0\0\0\0" + asked[12:] + answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()
        thread.join()


def test_a_broken_answer() -> None:
    with answering(b"\xff\xff") as server, pytest.raises(LookupFault, match="gives a broken answer: a pointer"):
        look_up(NAME, a_discovery(server))


SERVICE = "_https._tcp.example.org"


def test_what_srv_records_lead_to() -> None:
    with a_name_server() as names:
        names.services[SERVICE] = [(10, 5, 6443, "a.example.org"), (20, 0, 6444, "b.example.org")]
        names.hosts |= {"a.example.org": ["10.0.0.1", "fd00::1"], "b.example.org": ["10.0.0.2"]}
        names.ttl = 7
        first = Target(("10.0.0.1", "fd00::1"), "a.example.org", 6443, 10, 5)
        second = Target(("10.0.0.2",), "b.example.org", 6444, 20, 0)
        assert look_up_service(SERVICE, a_discovery(names.address)) == Found((first, second), 7)
        names.services[SERVICE] = [(1, 1, 1, "a.example.org"), (1, 1, 2, "a.example.org")]
        names.asked.clear()
        found = look_up_service(SERVICE, a_discovery(names.address, ipv6=False))
        assert [(target.hosts, target.port) for target in found.targets] == [(("10.0.0.1",), 1), (("10.0.0.1",), 2)]
        assert len(names.asked) == 2


def test_a_target_that_is_not_there() -> None:
    with a_name_server() as names:
        names.services[SERVICE] = [(1, 1, 1, "gone.example.org"), (1, 1, 1, "a.example.org")]
        names.hosts["a.example.org"] = ["10.0.0.1"]
        found = look_up_service(SERVICE, a_discovery(names.address))
        assert [target.hosts for target in found.targets] == [(), ("10.0.0.1",)]
        assert found.faults == (f"gone.example.org: {Address(*names.address)}: no such name",)


def test_srv_records_that_lead_nowhere() -> None:
    with a_name_server() as names:
        with pytest.raises(LookupFault, match="no such name"):
            look_up_service(SERVICE, a_discovery(names.address))
        names.hosts[SERVICE] = []
        with pytest.raises(LookupFault, match="it has no SRV record"):
            look_up_service(SERVICE, a_discovery(names.address))
        names.services[SERVICE] = [(1, 1, 1, "gone.example.org")]
        with pytest.raises(LookupFault, match=r"gone.example.org: .* no such name"):
            look_up_service(SERVICE, a_discovery(names.address))


def test_a_silent_dns_server_costs_its_time_once_for_all_targets() -> None:
    with a_name_server() as silent, a_name_server() as names:
        silent.silent = True
        hosts = [f"h{i}.example.org" for i in range(20)]
        names.services[SERVICE] = [(1, 1, 1, host) for host in hosts]
        names.hosts |= {host: ["10.0.0.1"] for host in hosts}
        found = look_up_service(SERVICE, a_discovery(silent.address, names.address, timeout=4))
        assert all(target.hosts == ("10.0.0.1",) for target in found.targets)
        assert silent.asked == ["udp"]


def test_more_srv_records_than_a_datagram_holds() -> None:
    with a_name_server() as names:
        hosts = [f"h{i}.example.org" for i in range(40)]
        names.services[SERVICE] = [(1, 1, 1, host) for host in hosts]
        names.hosts |= {host: ["10.0.0.1"] for host in hosts}
        assert len(look_up_service(SERVICE, a_discovery(names.address)).targets) == 40
        assert "tcp" in names.asked
