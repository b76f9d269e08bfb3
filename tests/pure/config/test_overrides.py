"""What goes before a file: flags, and before both of them nothing but the flags themselves."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from kubelb.config.faults import ConfigFault, Key, Place
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.listeners import Listener
from kubelb.config.model.logs import Log
from kubelb.config.model.pools import PASSIVE, Health, Pool, ProbeKind, Rebalance, Server
from kubelb.config.overrides import (
    NO_OVERRIDES,
    Overrides,
    Probing,
    override,
    parse_probing,
    parse_threads,
    parse_workers,
    read_environment,
    unknown_variables,
    variable,
)
from kubelb.config.validate import validate
from kubelb.config.values import Address, Duration
from kubelb.reasons import ValueFault
from tests.pure.config.configs import configs, probe_kinds

_SERVERS = (Server(address=Address("10.0.0.1", 1)),)


def _loaded(*healths: Health, rebalance: Rebalance | None = None) -> Loaded:
    """A proxy with a pool for each, read from file F, where their health is on line 5."""
    listener = Listener(listen=(Address("127.0.0.1", 1),), pool="0")
    pools = {str(i): Pool(servers=_SERVERS, health=health, rebalance=rebalance) for i, health in enumerate(healths)}
    places: dict[Key, Place] = {("pool", name, "health"): Place("F", 5) for name in pools}
    return Loaded(Config(listeners=(listener,), pools=pools), places=places)


def _faults(loaded: Loaded) -> list[str]:
    return [str(fault) for fault in validate(loaded.config, loaded.places)]


def _healths(loaded: Loaded) -> list[Health]:
    return [pool.health for pool in loaded.config.pools.values()]


@given(configs)
def test_nothing_said_is_nothing_changed(config: Config) -> None:
    loaded = Loaded(config, ("w",), {(): Place("F")})
    assert override(loaded, NO_OVERRIDES) == loaded
    assert read_environment({"PATH": "/bin"}) == NO_OVERRIDES


def test_the_process() -> None:
    loaded = Loaded(Config(workers=1, log=Log(level="debug")), ("w",))
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
    with pytest.raises(ValueFault, match='not "many"; write a number or "auto"'):
        parse_workers("many")
    with pytest.raises(ValueFault, match='not "-1"; write a number, "auto" or "per-connection"'):
        parse_threads("-1")


def test_every_pool_is_overridden() -> None:
    overrides = Overrides(
        health=Probing("https", "/livez"),
        health_ca="/ca",
        on_down="drain",
        drain_timeout=Duration(9),
        rebalance=Duration(30),
    )
    for pool in override(_loaded(PASSIVE, Health(interval=Duration(3))), overrides).config.pools.values():
        assert msgspec.structs.replace(pool.health, interval=Health().interval) == Health(
            probe="https", path="/livez", ca_file="/ca", on_down="drain"
        )
        assert (pool.drain_timeout, pool.rebalance) == (Duration(9), Rebalance(every=Duration(30)))


def test_only_what_is_said_is_overridden() -> None:
    health = Health(path="/livez", fall=5, ca_file="/mine", on_down="keep")
    assert _healths(override(_loaded(health), Overrides(health=Probing("https")))) == [health]
    assert _healths(override(_loaded(health), Overrides(drain_timeout=Duration(1)))) == [health]
    loaded = _loaded(health, rebalance=Rebalance(threshold=0.5))
    assert override(loaded, Overrides(rebalance=Duration(3))).config.pools["0"].rebalance == Rebalance(
        every=Duration(3), threshold=0.5
    )
    assert override(loaded, Overrides(rebalance="off")).config.pools["0"].rebalance is None


@given(probe_kinds)
def test_another_probe_drops_what_it_has_no_use_for(kind: ProbeKind) -> None:
    """An operator who turns probes off in a hurry need not take a file to pieces."""
    health = Health(
        path="/x", interval=Duration(2), fall=5, server_name="x", ca_file="/c", token_file="/t", on_down="keep"
    )
    loaded = _loaded(health)
    places: dict[Key, Place] = {("pool", "0", "health", name): Place("F", 6) for name in health.__struct_fields__}
    overridden = override(msgspec.structs.replace(loaded, places=places), Overrides(health=Probing(kind)))
    assert _faults(overridden) == []
    (result,) = _healths(overridden)
    assert (result.probe, result.interval) == (kind, Health().interval if kind == "off" else Duration(2))


def test_a_kubeconfig_goes_to_the_pools_that_are_probed_over_tls() -> None:
    healths = (Health(ca_file="/ca"), Health(probe="tls"), Health(probe="tcp"), Health(probe="http"))
    assert _healths(override(_loaded(*healths), Overrides(kubeconfig="/k"))) == [
        Health(ca_file="/ca", kubeconfig="/k"),
        Health(probe="tls", kubeconfig="/k"),
        *healths[2:],
    ]


def test_a_kubeconfig_has_pools_probed_of_which_nobody_says_how() -> None:
    loaded = override(_loaded(PASSIVE, Health(probe="tcp")), Overrides(kubeconfig="/k"))
    assert _healths(loaded) == [Health(probe="https", kubeconfig="/k"), Health(probe="tcp")]
    assert _faults(loaded) == []


def test_a_kubeconfig_goes_before_a_files_own_credentials() -> None:
    health = Health(ca_file="/ca", cert_file="/c", key_file="/k", token_file="/t", server_name="x")
    loaded = _loaded(health)
    places: dict[Key, Place] = {("pool", "0", "health", name): Place("F", 6) for name in ("cert_file", "token_file")}
    overridden = override(msgspec.structs.replace(loaded, places=places), Overrides(kubeconfig="/k"))
    assert _healths(overridden) == [Health(ca_file="/ca", server_name="x", kubeconfig="/k")]
    assert _faults(overridden) == []


def test_who_turns_probes_off_turns_the_kubeconfig_off() -> None:
    environment = read_environment({"KUBELB_KUBECONFIG": "/k"})
    loaded = override(override(_loaded(PASSIVE), environment, variable), Overrides(health=Probing("off")))
    assert _healths(loaded) == [PASSIVE]
    assert _faults(loaded) == []


@pytest.mark.parametrize("kind", ["off", "tcp", "http"])
def test_a_kubeconfig_that_no_probe_can_use_is_refused(kind: ProbeKind) -> None:
    loaded = override(_loaded(PASSIVE, PASSIVE), read_environment({"KUBELB_HEALTH": kind}), variable)
    fault = f"--kubeconfig: means nothing with probe {kind}; leave it out, or probe by https or tls"
    assert _faults(override(loaded, Overrides(kubeconfig="/k"))) == [fault]


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            Overrides(health_ca="/ca"),
            "NAME_health_ca: means nothing with probe off; leave it out, or probe by https or tls",
        ),
        (
            Overrides(health=Probing("tcp"), health_ca="/ca"),
            "NAME_health_ca: means nothing with probe tcp; leave it out, or probe by https or tls",
        ),
        (
            Overrides(on_down="reset"),
            "NAME_on_down: means nothing with probe off; leave it out, or probe by https, http, tls or tcp",
        ),
        (
            Overrides(drain_timeout=Duration(0)),
            "NAME_drain_timeout: zero or too long; write a time above 0 and up to ten years",
        ),
        (
            Overrides(rebalance=Duration(3)),
            "NAME_rebalance: needs probes, to know where clients would find a server; "
            "set health.probe too, or leave it out",
        ),
        (
            Overrides(health=Probing("tcp"), rebalance=Duration(0)),
            "NAME_rebalance: zero or too long; write a time above 0 and up to ten years",
        ),
    ],
)
def test_a_rule_broken_in_every_pool_is_told_once(overrides: Overrides, fault: str) -> None:
    assert _faults(override(_loaded(PASSIVE, PASSIVE), overrides, lambda name: f"NAME_{name}")) == [fault]


def test_a_flag_goes_before_the_environment() -> None:
    environment = read_environment({"KUBELB_HEALTH": "tcp", "KUBELB_ON_DOWN": "keep", "KUBELB_REBALANCE": "10s"})
    loaded = override(_loaded(PASSIVE), environment, variable)
    loaded = override(loaded, Overrides(health=Probing("tls"), health_ca="", rebalance="off"))
    (pool,) = loaded.config.pools.values()
    assert (pool.health.probe, pool.health.on_down, pool.rebalance) == ("tls", "keep", None)
    assert _faults(loaded) == ["--health-ca: empty; write the path of a file"]


def test_the_environment() -> None:
    environment = {
        "KUBELB_HEALTH": "https:/readyz",
        "KUBELB_HEALTH_CA": "/ca",
        "KUBELB_KUBECONFIG": "/k",
        "KUBELB_ON_DOWN": "reset",
        "KUBELB_DRAIN_TIMEOUT": "2m",
        "KUBELB_REBALANCE": "off",
    }
    assert read_environment(environment) == Overrides(
        health=Probing("https", "/readyz"),
        health_ca="/ca",
        kubeconfig="/k",
        on_down="reset",
        drain_timeout=Duration(120),
        rebalance="off",
    )


def test_each_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigFault) as caught:
        read_environment(
            {
                "KUBELB_HEALTH": "https:readyz",
                "KUBELB_ON_DOWN": "",
                "KUBELB_DRAIN_TIMEOUT": "1 minute",
                "KUBELB_REBALANCE": "on",
            }
        )
    time = 'write for example "2s", "250ms" or "10m"'
    assert [str(fault) for fault in caught.value.faults] == [
        'KUBELB_HEALTH: "readyz" is not a path; begin it with /',
        'KUBELB_ON_DOWN: not ""; write reset, drain or keep',
        f'KUBELB_DRAIN_TIMEOUT: not a duration: "1 minute"; {time}',
        f'KUBELB_REBALANCE: not a duration: "on"; {time}',
    ]


def test_unknown_variables() -> None:
    names = ("KUBELB_HELTH", "KUBELB_X", "KUBELB_HEALTH", "KUBELB_SERVICE_HOST", "KUBELB_PORT", "KUBELB_PORT_1_TCP")
    assert unknown_variables(dict.fromkeys((*names, "HOME"), "")) == (
        'KUBELB_HELTH: unknown variable; did you mean "KUBELB_HEALTH"?',
        "KUBELB_X: unknown variable; known here: KUBELB_HEALTH, KUBELB_HEALTH_CA, KUBELB_KUBECONFIG, "
        "KUBELB_ON_DOWN, KUBELB_DRAIN_TIMEOUT, KUBELB_REBALANCE",
    )


@pytest.mark.parametrize(
    ("text", "probing"),
    [
        ("off", Probing("off")),
        ("tcp", Probing("tcp")),
        ("tls", Probing("tls")),
        ("http:/path", Probing("http", "/path")),
        ("https", Probing("https")),
        ("https:/readyz?a=b:c", Probing("https", "/readyz?a=b:c")),
    ],
)
def test_parse_probing(text: str, probing: Probing) -> None:
    assert parse_probing(text) == probing


@pytest.mark.parametrize("text", ["", "HTTPS", "htps", "tcp:", "tcp:/x", "off:/x", "tls:443", "/readyz"])
def test_no_probe(text: str) -> None:
    with pytest.raises(ValueFault, match=f'^not "{text}"; write off, tcp, tls, http:/path or https:/path$'):
        parse_probing(text)
