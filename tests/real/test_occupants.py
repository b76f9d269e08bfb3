"""Who has an address, as far as it can be seen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubelb.config.values import Address, parse_address
from kubelb.supervisor.occupants import Occupant, occupants

pytestmark = pytest.mark.usefixtures("no_leaks")

ME = Occupant(os.getpid(), Path("/proc/self/comm").read_text().strip(), orphaned=False)


@contextmanager
def listening(host: str, both: bool = False) -> Iterator[int]:
    """At this port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind((host, 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.mark.parametrize(
    ("held", "wanted", "found"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::1", False),
        ("0.0.0.0", "127.0.0.2", True),
        ("::1", "::1", True),
        ("::1", "::", True),
        ("::1", "127.0.0.1", False),
        ("::", "127.0.0.1", True),
        ("::", "::1", True),
    ],
)
def test_who_listens_there(held: str, wanted: str, found: bool) -> None:
    with listening(held, both=held == "::") as port:
        assert occupants(Address(wanted, port)) == ([ME] if found else [])
        assert occupants(Address(wanted, port % 65535 + 1)) != [ME]


def test_an_ipv4_address_of_an_ipv6_socket() -> None:
    with listening("::ffff:127.0.0.1", both=True) as port:
        assert occupants(Address("127.0.0.1", port)) == [ME]
        assert occupants(Address("127.0.0.2", port)) == []


def test_a_connection_from_that_port_where_nobody_listens() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert occupants(Address(*client.getsockname())) == [ME]


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a socket"
    assert occupants(parse_address(f"unix:{path}")) == []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        assert occupants(parse_address(f"unix:{path}")) == [ME]
    assert occupants(parse_address(f"unix:{path}")) == []


def test_a_child_is_not_told_beside_its_parent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
        code = "import sys; print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[server.fileno()]
        ) as child:
            assert child.stdout is not None
            child.stdout.read(1)
            assert occupants(address) == [ME]
            server.close()
            assert [one.pid for one in occupants(address)] == [child.pid]
            child.communicate()
