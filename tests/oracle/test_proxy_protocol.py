"""PROXY protocol headers as nginx reads and writes them: the same verdict, the same addresses, the same bytes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv6Address
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubelb.config.access import parse_network, real_client
from kubelb.inet import shown
from kubelb.proxyproto import MOST, Endpoint, Header, HeaderFault, decode, encode
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import EchoServers
from tests.support.proxy_headers import INVALID, VALID, Address, any_start, good, pairs, v2_tcp

_TOLD = "$proxy_protocol_addr|$proxy_protocol_port|$proxy_protocol_server_addr|$proxy_protocol_server_port"
_HOST = "127.0.0.1"


class _Nginx(NamedTuple):
    """Where one listens that takes headers, and what it does with what comes behind them."""

    tells: Endpoint
    """Says what the header told, ``-`` before it."""
    believes: Endpoint
    """Says where it thinks the client is from: it trusts the header."""
    echoes: Endpoint
    """Says an address, then repeats what it hears."""
    announces: Endpoint
    """Sends a header of its own, for the client that the one it takes tells of, to a server that repeats it."""
    announces_ipv6: Endpoint
    """The same, on an IPv6 socket that takes IPv4 too."""


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Nginx]:
    with ExitStack() as stack:
        [[host, port]] = stack.enter_context(EchoServers()).addresses
        listeners = [listen() for _ in range(4)]
        listeners.append(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        ports = [listener.getsockname()[1] for listener in listeners]
        config = f"""{PREAMBLE}
            user root root;
            worker_processes 1;
            events {{ worker_connections 1024; }}
            stream {{
                proxy_half_close on;
                server {{ listen {_HOST}:{ports[0]} proxy_protocol; return "-{_TOLD}"; }}
                server {{
                    listen {_HOST}:{ports[1]} proxy_protocol;
                    set_real_ip_from 127.0.0.0/8;
                    return "-$remote_addr|$remote_port";
                }}
                server {{ listen {_HOST}:{ports[2]} proxy_protocol; proxy_pass {host}:{port}; }}
                server {{
                    listen {_HOST}:{ports[3]} proxy_protocol;
                    set_real_ip_from 127.0.0.0/8;
                    proxy_protocol on;
                    proxy_pass {host}:{port};
                }}
                server {{
                    listen [::]:{ports[4]} proxy_protocol ipv6only=off;
                    set_real_ip_from 127.0.0.0/8;
                    proxy_protocol on;
                    proxy_pass {host}:{port};
                }}
            }}
        """
        stack.enter_context(running_nginx(tmp_path_factory.mktemp("nginx"), config, listeners))
        yield _Nginx(*((_HOST, port) for port in ports))


def _answer(server: Endpoint, data: bytes) -> str | None:
    """What nginx says to a client that says so much, which must be something; None: it drops the client."""
    with socket.create_connection(server, timeout=30) as client:
        client.sendall(data)
        said = _read(client)
    return said[1:].decode() if said else None


def _read(client: socket.socket) -> bytes:
    """To the end, or until it is dropped."""
    said = b""
    try:
        while piece := client.recv(4096):
            said += piece
    except ConnectionResetError:
        pass
    return said


def _header(data: bytes) -> Header | None:
    """None: it is none, or not a whole one."""
    try:
        return decode(data)
    except HeaderFault:
        return None


def _told(data: bytes) -> str | None:
    """As nginx shows it; it does not show a port 0."""
    header = _header(data)
    if header is None:
        return None
    return "|".join(
        f"{host}|{port or ''}" for host, port in (header.source or ("", 0), header.destination or ("", 0))
    )


@pytest.mark.parametrize("path", [*VALID, *INVALID], ids=lambda path: path.stem)
def test_corpus(path: Path, headers: _Nginx) -> None:
    data = path.read_bytes()
    assert _answer(headers.tells, data) == _told(data)


@settings(max_examples=1000)
@given(data=any_start.filter(bool))
def test_any_start(data: bytes, headers: _Nginx) -> None:
    assert _answer(headers.tells, data) == _told(data)


@settings(max_examples=300)
@given(hosts=pairs, ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)))
def test_any_address(hosts: tuple[Address, Address], ports: tuple[int, int], headers: _Nginx) -> None:
    data = v2_tcp(*hosts, ports)
    assert _answer(headers.tells, data) == _told(data)


@settings(max_examples=200)
@given(header=good, rest=st.binary(max_size=200))
def test_what_follows_is_left_alone(header: bytes, rest: bytes, headers: _Nginx) -> None:
    found = _header(header + rest)
    assert found is not None
    assert found.length == len(header)
    with socket.create_connection(headers.echoes, timeout=30) as client:
        client.sendall(header + rest)
        client.shutdown(socket.SHUT_WR)
        _, _, repeated = _read(client).partition(b"\n")
    assert repeated == rest


_claims = st.one_of(
    st.text("0123456789abcdefABCDEF:.", max_size=45),
    st.lists(st.text("0123456789af", max_size=5), max_size=9).map(":".join),
    st.lists(st.text("0123456789", max_size=3), min_size=3, max_size=5).map(".".join),
    st.builds("{}:{}".format, st.sampled_from(["", ":", "1:2:3:4:5:6", "::ffff", "::1"]), st.ip_addresses(v=4)),
    st.ip_addresses().map(str),
)


@settings(max_examples=800)
@given(claim=_claims, port=st.integers(0, 65535))
@example(claim="255.255.255.255", port=1)
@example(claim="::abcd", port=0)
@example(claim="1::2:", port=1)
def test_any_text_as_an_address(claim: str, port: int, headers: _Nginx) -> None:
    data = f"PROXY TCP4 {claim} 1.1.1.1 {port} 1\r\n".encode()
    with socket.create_connection(headers.believes, timeout=30) as client:
        connected = client.getsockname()
        client.sendall(data)
        answer = _read(client)[1:].decode()
    header = decode(data)
    assert header is not None
    assert header.source is not None
    host, shown_port = real_client([parse_network("127.0.0.0/8", pytest.fail)], connected, header.source)
    assert answer == f"{host}|{shown_port or ''}"


@pytest.mark.parametrize("family", ["IPv4", "IPv6", "IPv4 on an IPv6 socket"])
@settings(max_examples=50)
@given(source=st.none() | st.tuples(st.ip_addresses(), st.integers(0, 65535)))
@example(source=(IPv6Address("::ffff:ffff"), 1))
@example(source=(IPv6Address("::ffff:255.255.255.255"), 1))
def test_written(family: str, source: tuple[Address, int] | None, headers: _Nginx) -> None:
    server = headers.announces if family == "IPv4" else headers.announces_ipv6
    host = "::1" if family == "IPv6" else _HOST
    claim = None if source is None else (shown(source[0].packed), source[1])
    with socket.create_connection((host, server[1]), timeout=30) as client:
        client.sendall(b"PROXY UNKNOWN\r\n" if claim is None else encode(claim, ("1.1.1.1", 1)))
        client.shutdown(socket.SHUT_WR)
        _, _, written = _read(client).partition(b"\n")
        mapping = "::ffff:" if family == "IPv4 on an IPv6 socket" else ""
        connected, port = client.getsockname()[:2]
        endpoint = (f"{mapping}{connected}", port)
    trusted = [parse_network("127.0.0.0/8", pytest.fail)]
    client_address = endpoint if claim is None else real_client(trusted, endpoint, claim)
    assert written == encode(client_address, (f"{mapping}{host}", server[1]))
    assert len(written) <= MOST


def test_written_for_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    with EchoServers() as servers, closing(socket.socket(socket.AF_UNIX)) as client:
        [[host, port]] = servers.addresses
        config = f"""{PREAMBLE}
            user root root;
            events {{}}
            stream {{
                server {{ listen unix:{path}; proxy_half_close on; proxy_protocol on; proxy_pass {host}:{port}; }}
            }}
        """
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            with running_nginx(tmp_path, config, [listener]):
                client.connect(str(path))
                client.shutdown(socket.SHUT_WR)
                _, _, written = _read(client).partition(b"\n")
    assert written == encode(("unix:", 0), (f"unix:{path}", 0))
