"""``CP_HOSTS`` means the file RKE makes of it."""

from __future__ import annotations

import pytest

from kubelb.config.cp_hosts import read_cp_hosts
from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import PASSIVE, Pool, Server
from kubelb.config.values import Address, Duration

_COMMAS = "write hosts with commas between them"


def test_is_rkes_file() -> None:
    assert read_cp_hosts("10.0.0.11,10.0.0.12").config == Config(
        listeners=(
            Listener(
                listen=(Address("0.0.0.0", 6443),),
                pool="kube_apiserver",
                connect_timeout=Duration(2),
                idle_timeout=Duration(600),
                half_close=False,
            ),
        ),
        pools={
            "kube_apiserver": Pool(
                servers=tuple(Server(address=Address(host, 6443)) for host in ("10.0.0.11", "10.0.0.12")),
                balance="round_robin",
                health=PASSIVE,
            )
        },
    )


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("a", ["a:6443"]),
        (" a , b:7443,[::1]:7443 ,[::2],fd00::3", ["a:6443", "b:7443", "[::1]:7443", "[::2]:6443", "[fd00::3]:6443"]),
        ("a:1,a:2", ["a:1", "a:2"]),
    ],
)
def test_entries(text: str, addresses: list[str]) -> None:
    servers = read_cp_hosts(text).config.pools["kube_apiserver"].servers
    assert [str(server.address) for server in servers] == addresses


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["CP_HOSTS: entry 1 is empty; write hosts with commas between them"]),
        ("a,,b,", [f"CP_HOSTS: entry {i} is empty; write hosts with commas between them" for i in (2, 4)]),
        ("a, A:6443", ["CP_HOSTS: A:6443 is there twice; write each host once"]),
        ("[::1],[0::1]:6443", ["CP_HOSTS: [0::1]:6443 is there twice; write each host once"]),
        ("a:0", ['CP_HOSTS: port out of range in "a:0"; a port is a number from 1 to 65535']),
        *(
            (
                f"10.0.0.1{by}10.0.0.2",
                [f'CP_HOSTS: "10.0.0.1{by}10.0.0.2" has a blank or a semicolon in it; {_COMMAS}'],
            )
            for by in " ;"
        ),
        ("https://a:6443", ['CP_HOSTS: https:// means nothing here, in "https://a:6443"; write a:6443']),
    ],
)
def test_faults(text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigFault) as caught:
        read_cp_hosts(text)
    assert [str(fault) for fault in caught.value.faults] == faults
