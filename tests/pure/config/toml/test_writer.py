"""A written configuration reads back as itself."""

from __future__ import annotations

from hypothesis import given

from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import PASSIVE, Pool, Rebalance, Server
from kubelb.config.toml.reader import parse_toml
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from tests.pure.config.configs import configs


@given(configs)
def test_reads_back(config: Config) -> None:
    assert parse_toml(write_toml(config), "F").config == config


def test_is_readable() -> None:
    config = Config(
        listeners=(Listener(listen=(Address("::1", 6443),), pool="kube api", idle_timeout=Duration(600)),),
        pools={
            "kube api": Pool(
                servers=(Server(address=Address("a", 1)), Server(address=Address("b", 2), weight=3, tier=1)),
                health=PASSIVE,
                rebalance=Rebalance(),
            )
        },
    )
    assert (
        write_toml(config)
        == """\
[[listener]]
listen = ["[::1]:6443"]
pool = "kube api"
connect_timeout = "2s"
idle_timeout = "10m"

[pool."kube api"]
servers = ["a:1", { address = "b:2", weight = 3, tier = 1 }]
balance = "least_conn"

[pool."kube api".health]
probe = "off"

[pool."kube api".rebalance]
every = "10s"
"""
    )
