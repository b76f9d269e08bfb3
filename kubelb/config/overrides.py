"""What the operator says on the command line or in the environment, which goes before what a file says; pure."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from kubelb.config.faults import ConfigFault, Fault, Key, Place, fault_of, suggest
from kubelb.config.flags_reader import flag
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.logs import LogLevel
from kubelb.config.model.pools import Health, OnDown, Pool, ProbeKind, Rebalance
from kubelb.config.rules.health import OF_KUBECONFIG, USED_BY, fitting
from kubelb.config.values import Duration, parse_duration, parse_path
from kubelb.reasons import ValueFault

_PREFIX: Final = "KUBELB_"
_PROCESS: Final = ("runtime_dir", "workers", "threads", "pin")
_KUBERNETES = re.compile(r"KUBELB_(SERVICE|PORT)(_.*)?")
"""What a container gets where a Service is called kubelb."""


class Probing(msgspec.Struct, frozen=True):
    """The kind of probe and, of an HTTP one, its path; None: as the pool has it."""

    kind: ProbeKind
    path: str | None = None


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that go before those of the source; None: not given. Those of pools count for every pool."""

    runtime_dir: str | None = None
    workers: int | Literal["auto"] | None = None
    threads: int | Literal["auto", "per-connection"] | None = None
    pin: bool | None = None
    log_level: LogLevel | None = None
    access_log: bool | None = None
    health: Probing | None = None
    health_ca: str | None = None
    kubeconfig: str | None = None
    """For the pools that are probed over TLS, as those are then of which nobody says how they are to be probed."""
    on_down: OnDown | None = None
    drain_timeout: Duration | None = None
    rebalance: Duration | Literal["off"] | None = None
    """How often; the other settings of rebalancing stay as the pool has them."""


NO_OVERRIDES: Final = Overrides()


def override(loaded: Loaded, overrides: Overrides, name_of: Callable[[str], str] = flag) -> Loaded:
    """``loaded`` with what ``overrides`` say, in the settings' places too, under the names ``name_of`` gives them."""
    places = dict(loaded.places)
    for name in _PROCESS:
        if getattr(overrides, name) is not None:
            places[(name,)] = Place(path=name_of(name))
    pools = {}
    for name, pool in loaded.config.pools.items():
        pools[name] = _pool(pool, overrides)
        for key in _unused(("pool", name, "health"), overrides):
            places.pop(key, None)
        for key, option in _pool_keys(("pool", name), overrides):
            places[key] = Place(path=name_of(option))
    if overrides.kubeconfig is not None:
        _give_kubeconfig(pools, places, overrides.kubeconfig, Place(path=name_of("kubeconfig")))
    config = msgspec.structs.replace(_process(loaded.config, overrides), pools=pools)
    return msgspec.structs.replace(loaded, config=config, places=places)


def read_environment(environment: Mapping[str, str]) -> Overrides:
    """What the ``KUBELB_*`` variables say; :class:`ConfigFault` with each whose value is wrong."""
    values: dict[str, Any] = {}
    faults = []
    for name, parse in _VARIABLES.items():
        try:
            if (text := environment.get(variable(name))) is not None:
                values[name] = parse(text)
        except ValueFault as error:
            faults.append(msgspec.structs.replace(fault_of(error), path=variable(name)))
    if faults:
        raise ConfigFault(*faults)
    return Overrides(**values)


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each variable that is ours by its name and that nothing reads."""
    known = [variable(name) for name in _VARIABLES]
    return tuple(
        str(Fault(path=name, what="unknown variable", instead=suggest(name, known, _PREFIX)))
        for name in sorted(environment)
        if name.startswith(_PREFIX) and name not in known and not _KUBERNETES.fullmatch(name)
    )


def variable(name: str) -> str:
    """An override's name in the environment."""
    return _PREFIX + name.upper()


def parse_workers(text: str) -> int | Literal["auto"]:
    """``auto`` or a number; :class:`ValueFault`: neither."""
    if text == "auto":
        return "auto"
    return _parse_number(text, 'a number or "auto"')


def parse_threads(text: str) -> int | Literal["auto", "per-connection"]:
    """``auto``, ``per-connection`` or a number; :class:`ValueFault`: none of them."""
    if text == "auto":
        return "auto"
    if text == "per-connection":
        return "per-connection"
    return _parse_number(text, 'a number, "auto" or "per-connection"')


def parse_probing(text: str) -> Probing:
    """``https:/readyz``, ``https``, ``tcp`` ...; :class:`ValueFault`: no such probe, or a path it has no use for."""
    kind, colon, path = text.partition(":")
    for known in typing.get_args(ProbeKind):
        if kind == known and (not colon or kind in USED_BY["path"]):
            return Probing(known, parse_path(path) if colon else None)
    raise ValueFault(f'not "{text}"; write off, tcp, tls, http:/path or https:/path')


def parse_on_down(text: str) -> OnDown:
    for known in typing.get_args(OnDown):
        if text == known:
            return typing.cast(OnDown, known)
    raise ValueFault(f'not "{text}"; write reset, drain or keep')


def parse_rebalance(text: str) -> Duration | Literal["off"]:
    return "off" if text == "off" else parse_duration(text)


_VARIABLES: Mapping[str, Callable[[str], object]] = {
    "health": parse_probing,
    "health_ca": str,
    "kubeconfig": str,
    "on_down": parse_on_down,
    "drain_timeout": parse_duration,
    "rebalance": parse_rebalance,
}


def _parse_number(text: str, right: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueFault(f'not "{text}"; write {right}')
    return int(text)


def _process(config: Config, overrides: Overrides) -> Config:
    return msgspec.structs.replace(
        config,
        **_given(overrides, **{name: name for name in _PROCESS}),
        log=msgspec.structs.replace(config.log, **_given(overrides, level="log_level", access="access_log")),
    )


def _pool(pool: Pool, overrides: Overrides) -> Pool:
    return msgspec.structs.replace(
        pool,
        **_given(overrides, drain_timeout="drain_timeout"),
        health=_health(pool.health, overrides),
        rebalance=_rebalance(pool.rebalance, overrides.rebalance),
    )


def _health(health: Health, overrides: Overrides) -> Health:
    """Settings of the pool's own probe that another kind has no use for go with it."""
    if (probing := overrides.health) is not None:
        path = health.path if probing.path is None else probing.path
        health = fitting(msgspec.structs.replace(health, probe=probing.kind, path=path))
    return msgspec.structs.replace(health, **_given(overrides, ca_file="health_ca", on_down="on_down"))


def _give_kubeconfig(pools: dict[str, Pool], places: dict[Key, Place], file: str, place: Place) -> None:
    """To the pools whose probes can use it. Where there are none the rules say what is wrong with it."""
    kinds = {name: _kind_with_kubeconfig(name, pool.health, places) for name, pool in pools.items()}
    fit = [name for name, kind in kinds.items() if kind in USED_BY["kubeconfig"]]
    for name in fit or kinds:
        if kinds[name] != pools[name].health.probe:
            places["pool", name, "health", "probe"] = place
        for setting in OF_KUBECONFIG:
            places.pop(("pool", name, "health", setting), None)
        places["pool", name, "health", "kubeconfig"] = place
        others = dict.fromkeys(OF_KUBECONFIG)
        health = msgspec.structs.replace(pools[name].health, probe=kinds[name], kubeconfig=file, **others)
        pools[name] = msgspec.structs.replace(pools[name], health=health)


def _kind_with_kubeconfig(name: str, health: Health, places: Mapping[Key, Place]) -> ProbeKind:
    is_said = ("pool", name, "health", "probe") in places
    return "https" if health.probe == "off" and not is_said else health.probe


def _rebalance(rebalance: Rebalance | None, every: Duration | Literal["off"] | None) -> Rebalance | None:
    if every is None:
        return rebalance
    return None if every == "off" else msgspec.structs.replace(rebalance or Rebalance(), every=every)


def _given(overrides: Overrides, **names: str) -> dict[str, Any]:
    """Of settings and the overrides that say them, those that are said."""
    values = {setting: getattr(overrides, name) for setting, name in names.items()}
    return {setting: value for setting, value in values.items() if value is not None}


def _unused(health: Key, overrides: Overrides) -> Iterator[Key]:
    """The settings that the overriding probe has no use for."""
    if (probing := overrides.health) is not None:
        yield from ((*health, name) for name, kinds in USED_BY.items() if probing.kind not in kinds)


def _pool_keys(pool: Key, overrides: Overrides) -> Iterator[tuple[Key, str]]:
    """The settings of one pool that are overridden, and by which option."""
    keys: Mapping[Key, str] = {
        ("health", "probe"): "health",
        ("health", "ca_file"): "health_ca",
        ("health", "on_down"): "on_down",
        ("drain_timeout",): "drain_timeout",
        ("rebalance",): "rebalance",
        ("rebalance", "every"): "rebalance",
    }
    for key, option in keys.items():
        if getattr(overrides, option) is not None:
            yield (*pool, *key), option
    if overrides.health is not None and overrides.health.path is not None:
        yield (*pool, "health", "path"), "health"
