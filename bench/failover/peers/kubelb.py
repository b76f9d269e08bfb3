"""kubelb from this checkout: with its probes, and with an nginx.conf alone."""

from __future__ import annotations

import sys

from bench.failover.peers.nginx import RKE, configuration
from bench.failover.peers.peer import Place
from bench.nginx import arguments

_KUBELB = """\
[[listener]]
listen = ["127.0.0.1:6443"]
pool = "kube-apiserver"

[pool.kube-apiserver]
servers = [{servers}]
{rebalance}

[pool.kube-apiserver.health]
ca_file = "{authority}"
"""
_REBALANCE = 'rebalance = { every = "1s", threshold = 0.1, at_most = 1 }'


def probing(place: Place) -> list[str]:
    """Defaults, and the authority for its probes."""
    file = place.directory / "kubelb.toml"
    file.write_text(
        _KUBELB.format(
            servers=", ".join(f'"{server}"' for server in place.servers),
            rebalance=_REBALANCE if place.rebalance else "",
            authority=place.authority,
        )
    )
    sources = ["--config", str(file), "--runtime-dir", str(place.directory / "run")]
    return [sys.executable, "-m", "kubelb", "run", *sources]


def with_nginx_conf(place: Place) -> list[str]:
    """kubelb stands in nginx's place, with RKE's file and nothing else: it has no probes."""
    options = arguments(configuration(RKE, place), place.directory)
    return [sys.executable, "-c", "from kubelb.cli.nginx import main; main()", *options]
