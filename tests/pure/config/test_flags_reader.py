"""A proxy on the command line."""

from __future__ import annotations

import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.flags_reader import POOL, Flags, read_flags
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Pool, Server
from kubelb.config.validate import validate
from kubelb.config.values import Address, Duration


def test_defaults_are_the_models() -> None:
    assert read_flags(Flags(listen=("[::1]:1",), server=("a:2", "b:3"))).config == Config(
        listeners=(Listener(listen=(Address("::1", 1),), pool=POOL),),
        pools={POOL: Pool(servers=(Server(address=Address("a", 2)), Server(address=Address("b", 3))))},
    )


def test_all_flags() -> None:
    flags = Flags(listen=("1.2.3.4:1",), server=("a:2",), balance="hash", connect_timeout="5s", idle_timeout="1h")
    config = read_flags(flags).config
    assert config.pools[POOL].balance == "hash"
    assert (config.listeners[0].connect_timeout, config.listeners[0].idle_timeout) == (Duration(5), Duration(3600))


def test_faults() -> None:
    with pytest.raises(ConfigFault) as caught:
        read_flags(Flags(listen=("a",), balance="best", connect_timeout="soon"))
    assert [str(fault) for fault in caught.value.faults] == [
        '--listen: no port in "a"; write host:port or [ipv6]:port',
        '--balance: not "best"; one of round_robin, least_conn, hash, consistent_hash, random, random_two',
        '--connect-timeout: not a duration: "soon"; write for example "2s", "250ms" or "10m"',
        "--server: missing; give at least one host:port",
    ]


def test_rules_are_told_by_flag() -> None:
    loaded = read_flags(Flags(listen=("127.0.0.1:1",), server=("a:1", "a:1"), connect_timeout="0s"))
    assert [str(fault) for fault in validate(loaded.config, loaded.places)] == [
        "--connect-timeout: zero or too long; write a time above 0 and up to ten years",
        "--server: a:1 is in the pool already; write it once, with a weight",
    ]


def test_given() -> None:
    assert Flags().given() == ()
    assert Flags(server=("a:1",), idle_timeout="").given() == ("--server", "--idle-timeout")
