from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb import __version__
from kubelb.config.log_format import compile_condition, compile_format
from kubelb.config.variables import (
    Client,
    Ended,
    Opening,
    Try,
    Worker,
    client_variables,
    compile_answer,
    compile_key,
    session_variables,
)
from kubelb.reasons import ValueFault

WORKER = Worker("Node-1", 42)
CLIENT = Client(7, ("10.0.0.9", 50001), ("10.0.0.1", 6443))
AT = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))


def ended(*tries: Try, client: Client = CLIENT, first_byte_at: float | None = None, status: int = 200) -> Ended:
    return Ended(Opening(client, 100.0, tries), status, 103.25, AT, 13, 25, 2, 3, first_byte_at)


def text(name: str, record: Ended) -> str:
    return compile_format(f"${name}", "default", WORKER)(record).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("binary_remote_addr", r"\x0A\x00\x00\x09"),
        ("bytes_received", "13"),
        ("bytes_sent", "22"),
        ("connection", "7"),
        ("hostname", "node-1"),
        ("limit_conn_status", "-"),
        ("msec", f"{AT.timestamp():.3f}"),
        ("nginx_version", __version__),
        ("pid", "42"),
        ("protocol", "TCP"),
        ("proxy_protocol_addr", "-"),
        ("proxy_protocol_port", "-"),
        ("proxy_protocol_server_addr", "-"),
        ("proxy_protocol_server_port", "-"),
        ("realip_remote_addr", "10.0.0.9"),
        ("realip_remote_port", "50001"),
        ("remote_addr", "10.0.0.9"),
        ("remote_port", "50001"),
        ("server_addr", "10.0.0.1"),
        ("server_port", "6443"),
        ("session_time", "3.250"),
        ("status", "200"),
        ("time_iso8601", "2026-03-04T05:06:07-03:30"),
        ("time_local", "04/Mar/2026:05:06:07 -0330"),
        ("upstream_addr", "10.0.0.2:1, 10.0.0.3:2"),
        ("upstream_bytes_received", "0, 25"),
        ("upstream_bytes_sent", "0, 11"),
        ("upstream_connect_time", "-, 0.125"),
        ("upstream_first_byte_time", "-, 1.500"),
        ("upstream_session_time", "0.500, 2.750"),
    ],
)
def test_every_variable(name: str, value: str) -> None:
    tries = (Try("10.0.0.2:1", 100.0, 0.5), Try("10.0.0.3:2", 100.5, 0.125, accepted=True))
    assert text(name, ended(*tries, first_byte_at=102.0)) == value
    assert name in session_variables(WORKER)


def test_there_is_no_other() -> None:
    assert len(session_variables(WORKER)) == 30


def test_a_client_who_got_no_server() -> None:
    record = ended(Try("pool", 100.0, 0.0), status=502)
    names = ("status", "upstream_addr", "upstream_bytes_sent", "upstream_connect_time", "upstream_first_byte_time")
    assert [text(name, record) for name in names] == ["502", "pool", "0", "-", "-"]
    assert text("upstream_addr", ended()) == "-"


def test_a_client_of_whom_a_header_tells() -> None:
    client = Client(
        7, ("10.9.9.9", 0), ("10.0.0.1", 6443), 0.0, ("10.0.0.9", 50001), ("10.9.9.9", 0), ("010.0.0.1", 99)
    )
    record = ended(Try("10.0.0.2:1", 100.0, 0.5, accepted=True, header=40), client=client)
    names = ("remote_addr", "remote_port", "realip_remote_addr", "realip_remote_port", "upstream_bytes_sent")
    assert [text(name, record) for name in names] == ["10.9.9.9", "", "10.0.0.9", "50001", "51"]
    told = ("addr", "port", "server_addr", "server_port")
    assert [text(f"proxy_protocol_{name}", record) for name in told] == ["10.9.9.9", "", "010.0.0.1", "99"]


def test_addresses_as_nginx_writes_them() -> None:
    client = Client(1, ("::102:304", 5), ("fe80::2%eth0", 6))
    assert compile_key("$remote_addr $server_addr")(client) == b"::1.2.3.4 fe80::2"


def test_what_an_answer_may_tell() -> None:
    assert compile_answer("$remote_addr $upstream_addr$status")(ended(status=0)) == b"10.0.0.9 000"
    with pytest.raises(ValueFault, match='unknown "nothing" variable'):
        compile_answer("$nothing")


def test_a_server_that_said_nothing() -> None:
    assert text("upstream_first_byte_time", ended(Try("a", 100.0, 0.1, accepted=True))) == "-"


@given(st.ip_addresses(), st.integers(1, 65535))
def test_binary_addresses(host: object, port: int) -> None:
    client = Client(1, (str(host), port), ("::1", 1))
    assert compile_key("$binary_remote_addr:$remote_port")(client) == (
        ip_address(str(host)).packed + b":" + str(port).encode()
    )


def test_a_link_local_client() -> None:
    client = Client(1, ("fe80::1%eth0", 5), ("fe80::2%eth0", 6))
    assert compile_key("$binary_remote_addr")(client) == ip_address("fe80::1").packed


@pytest.mark.parametrize("name", sorted(set(session_variables(WORKER)) - set(client_variables(WORKER))))
def test_a_key_knows_only_what_is_known_then(name: str) -> None:
    with pytest.raises(ValueFault, match=f'^"{name}" is not known yet at that time; known are binary_remote_addr, '):
        compile_key(f"${name}")


def test_conditions() -> None:
    assert compile_condition("$status")(ended())
    assert compile_condition("00")(ended())
    assert compile_condition("${upstream_addr}1")(ended())
    assert not compile_condition("0")(ended())
    assert not compile_condition("$upstream_addr")(ended())
    with pytest.raises(ValueFault, match='unknown "loggable" variable'):
        compile_condition("$loggable")
