"""Lookups at real DNS servers, good and bad ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kubelb.config.model import Discovery
from kubelb.config.values import Address, Duration
from kubelb.discovery.dns import Found, LookupFault, look_up
from tests.support.identity import refusing
from tests.support.nameserver import a_name_server

pytestmark = pytest.mark.usefixtures("no_leaks")

NAME = "api.example.org"


def a_discovery(*servers: tuple[str, int], timeout: float = 10, **settings: Any) -> Discovery:
    resolver = tuple(Address(*server) for server in servers)
    return Discovery(source="dns", resolver=resolver, timeout=Duration(timeout), **settings)


def test_both_kinds_of_addresses_or_one() -> None:
    with a_name_server() as names:
        names.hosts[NAME], names.ttl = ["10.0.0.1", "fd00::1", "10.0.0.2"], 7
        assert look_up(NAME, a_discovery(names.address)) == Found(("10.0.0.1", "10.0.0.2", "fd00::1"), 7)
        assert look_up(NAME, a_discovery(names.address, ipv6=False)) == Found(("10.0.0.1", "10.0.0.2"), 7)
        assert look_up(NAME, a_discovery(names.address, ipv4=False)) == Found(("fd00::1",), 7)


def test_the_next_server_is_asked_where_one_is_of_no_use() -> None:
    with (
        a_name_server() as silent,
        a_name_server() as failing,
        a_name_server() as names,
        refusing(["127.0.0.1"]) as no,
    ):
        silent.silent, failing.code, names.hosts[NAME] = True, 5, ["10.0.0.1"]
        asked = a_discovery(no[0], silent.address, failing.address, names.address, timeout=2)
        assert look_up(NAME, asked).hosts == ("10.0.0.1",)
        assert silent.asked == failing.asked == ["udp", "udp"]


def test_one_that_fails_is_asked_twice() -> None:
    with a_name_server() as failing:
        failing.code = 5
        with pytest.raises(LookupFault, match=rf"127.0.0.1:{failing.address[1]}: refused"):
            look_up(NAME, a_discovery(failing.address))
        assert failing.asked == ["udp", "udp"]


def test_what_there_is_not_is_asked_for_once() -> None:
    with a_name_server() as names:
        with pytest.raises(LookupFault, match="no such name"):
            look_up(NAME, a_discovery(names.address))
        assert names.asked == ["udp"]


def test_a_server_that_is_not_there() -> None:
    with refusing(["127.0.0.1"]) as (nobody,), pytest.raises(LookupFault, match="connection refused"):
        look_up(NAME, a_discovery(nobody))


def test_what_is_no_host_name() -> None:
    with pytest.raises(LookupFault, match="not a host name"):
        look_up("a..b", a_discovery(("127.0.0.1", 1)))
    with pytest.raises(LookupFault, match="not a host name"):
        look_up("a..b", a_discovery())


def test_the_system_knows_this_machine() -> None:
    assert look_up("localhost", a_discovery(ipv6=False)) == Found(("127.0.0.1",), None)
    with pytest.raises(LookupFault):
        look_up("no.such.name.invalid", a_discovery())


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, int]]:
    """A DNS server that says the same to two questions, behind the header and question of each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            for _ in range(2):
                asked, client = sock.recvfrom(512)
                sock.sendto(asked[:2] + b"\x81\x80" + asked[4:6] + b"\0\1\0\0\0\0" + asked[12:] + answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()
        thread.join()


def test_a_broken_answer() -> None:
    with answering(b"\xff\xff") as server, pytest.raises(LookupFault, match="gives a broken answer: a pointer"):
        look_up(NAME, a_discovery(server))
