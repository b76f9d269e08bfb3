"""A proxy on the command line, and the flags that override a file."""

from __future__ import annotations

import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.flags_reader import POOL, Flags, Overrides, override, parse_threads, parse_workers, read_flags
from kubelb.config.model import Config, Listener, Loaded, Log, Pool, Server
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


def test_override() -> None:
    loaded = Loaded(Config(workers=1, log=Log(level="debug")), ("w",))
    assert override(loaded, Overrides()).config == loaded.config
    overridden = override(
        loaded,
        Overrides(runtime_dir="/x", workers=0, threads="auto", pin=True, log_level="error", access_log=True),
    )
    assert overridden.warnings == ("w",)
    assert overridden.config == Config(
        workers=0, threads="auto", pin=True, runtime_dir="/x", log=Log(level="error", access=True)
    )
    assert str(validate(overridden.config, overridden.places)[0]) == "--workers: 0 is too few; write 1 or more"


def test_pin_can_be_overridden_off() -> None:
    assert not override(Loaded(Config(pin=True)), Overrides(pin=False)).config.pin


def test_parse_workers_and_threads() -> None:
    assert (parse_workers("auto"), parse_workers("3")) == ("auto", 3)
    assert (parse_threads("auto"), parse_threads("per-connection"), parse_threads("3")) == (
        "auto",
        "per-connection",
        3,
    )
    with pytest.raises(ValueError, match='not "many"; write a number or "auto"'):
        parse_workers("many")
    with pytest.raises(ValueError, match='not "-1"; write a number, "auto" or "per-connection"'):
        parse_threads("-1")
