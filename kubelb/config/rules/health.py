"""The rules for how a pool's servers are probed and its sessions rebalanced; pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from kubelb.config.faults import Key, Places, fault_of
from kubelb.config.model.pools import Health, Pool, ProbeKind, Rebalance
from kubelb.config.rules.rule import HASHING, Problem, count_problems, duration_problems
from kubelb.config.values import is_numeric, parse_path
from kubelb.reasons import ValueFault

_HTTP: Final[tuple[ProbeKind, ...]] = ("https", "http")
_TLS: Final[tuple[ProbeKind, ...]] = ("https", "tls")
_ALL: Final[tuple[ProbeKind, ...]] = ("https", "http", "tls", "tcp")

USED_BY: Final[Mapping[str, tuple[ProbeKind, ...]]] = {
    "port": _ALL,
    "path": _HTTP,
    "interval": _ALL,
    "timeout": _ALL,
    "hang_timeout": _ALL,
    "rise": _ALL,
    "fall": _ALL,
    "expect": _HTTP,
    "server_name": ("https", "http", "tls"),
    "ca_file": _TLS,
    "cert_file": _TLS,
    "key_file": _TLS,
    "token_file": ("https",),
    "kubeconfig": _TLS,
    "on_down": _ALL,
}
"""The probes that a setting means something to. Those that are not here count without any probe: an operator who
drains a server resets and brings back too."""

OF_KUBECONFIG: Final = ("cert_file", "key_file", "token_file")
"""The settings that a kubeconfig stands for."""

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


def fitting(health: Health) -> Health:
    """``health`` without what its probe has no use for."""
    unused = {name for name, kinds in USED_BY.items() if health.probe not in kinds}
    return msgspec.structs.replace(health, **{name: getattr(Health(), name) for name in unused})


def health_problems(key: Key, health: Health, places: Places) -> Iterator[Problem]:
    for name, kinds in USED_BY.items():
        here = (*key, name)
        given = here in places or getattr(health, name) != getattr(Health(), name)
        if given and health.probe not in kinds:
            yield here, f"means nothing with probe {health.probe}", f"leave it out, or probe by {_or(kinds)}"
    yield from duration_problems((*key, "interval"), health.interval)
    yield from duration_problems((*key, "timeout"), health.timeout)
    yield from duration_problems((*key, "hang_timeout"), health.hang_timeout)
    yield from count_problems((*key, "rise"), health.rise)
    yield from count_problems((*key, "fall"), health.fall)
    yield from _request_problems(key, health)
    yield from _file_problems(key, health)
    yield from duration_problems((*key, "reset_spread"), health.reset_spread, zero=True)
    yield from duration_problems((*key, "slow_start"), health.slow_start, zero=True)


def rebalance_problems(key: Key, rebalance: Rebalance, pool: Pool) -> Iterator[Problem]:
    if pool.health.probe == "off":
        yield key, "needs probes, to know where clients would find a server", "set health.probe too, or leave it out"
    if pool.balance in HASHING:
        yield key, f"balance {pool.balance} sends clients back to where they were", "leave one of the two out"
    yield from duration_problems((*key, "every"), rebalance.every)
    if not 0 <= rebalance.threshold < math.inf:
        yield (*key, "threshold"), f"{rebalance.threshold} is out of range", "write 0 or more, 0.2 for a fifth"
    yield from count_problems((*key, "at_most"), rebalance.at_most)
    yield from duration_problems((*key, "quiet"), rebalance.quiet, zero=True)


def port_problems(key: Key, pool: Pool) -> Iterator[Problem]:
    """``key`` is that of the health."""
    if (port := pool.health.port) is None:
        return
    if not 1 <= port <= 65535:
        yield (*key, "port"), f"{port} is not a port", "write a number from 1 to 65535"
    if unix := next((server for server in pool.servers if server.address.path is not None), None):
        yield (
            (*key, "port"),
            f"means nothing to {unix.name}",
            "leave it out, or give unix sockets a pool of their own",
        )


def _request_problems(key: Key, health: Health) -> Iterator[Problem]:
    try:
        parse_path(health.path)
    except ValueFault as error:
        fault = fault_of(error)
        yield (*key, "path"), fault.what, fault.instead
    for i, status in enumerate(health.expect):
        if not 100 <= status <= 599:
            yield (*key, "expect", i), f"{status} is not an HTTP status", "write a number from 100 to 599"
    name = health.server_name
    if name and not is_numeric(name) and not _NAME.fullmatch(name):
        yield (*key, "server_name"), f'"{name}" is not a host name', "write a name or an address, without a port"


def _file_problems(key: Key, health: Health) -> Iterator[Problem]:
    for name in ("ca_file", "cert_file", "key_file", "token_file", "kubeconfig"):
        if getattr(health, name) == "":
            yield (*key, name), "empty", "write the path of a file"
    given = [name for name in OF_KUBECONFIG if getattr(health, name) is not None]
    if health.kubeconfig is not None and given:
        yield (*key, given[0]), "the kubeconfig says that", "leave one of the two out"
    elif health.token_file is not None and health.probe == "https" and health.ca_file is None:
        yield (*key, "token_file"), "no token for a server that nobody verifies", "write ca_file too"
    if health.key_file is not None and health.cert_file is None:
        yield (*key, "key_file"), "no certificate for this key", "write cert_file too"


def _or(kinds: tuple[ProbeKind, ...]) -> str:
    *others, last = kinds
    return f"{', '.join(others)} or {last}" if others else last
