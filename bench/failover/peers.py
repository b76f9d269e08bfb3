"""The balancers compared, each before the same three servers in the node's namespace. Add one to :data:`PEERS`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import nginx


@dataclass(frozen=True)
class Place:
    """What a balancer is told: it listens on 127.0.0.1:6443 and ends on SIGTERM."""

    servers: Sequence[str]
    """``host:port`` each."""
    authority: Path
    """The certificate (PEM) the servers' own come from."""
    rebalance: bool
    """Move long-lived sessions to a server that returned, if it can."""
    directory: Path
    """Its own, to keep what it needs."""


@dataclass(frozen=True)
class Peer:
    """One balancer in one configuration."""

    name: str
    """As on the command line."""
    title: str
    """As in the table."""
    command: Callable[[Place], list[str]]
    """Writes its files; the command that runs it in the foreground."""
    settle_seconds: float = 4.0
    """From its first replies until it has probed every server as often as it needs to know them."""


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


def _kubelb(place: Place) -> list[str]:
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


# rancher/rke-tools, templates/nginx.tmpl
_RKE = """\
{load_module}
error_log stderr notice;
pid stream.pid;

worker_processes auto;
events {{
  multi_accept on;
  use epoll;
  worker_connections 1024;
}}

stream {{
        upstream kube_apiserver {{
            {servers}
        }}

        server {{
            listen        6443;
            proxy_pass    kube_apiserver;
            proxy_timeout 10m;
            proxy_connect_timeout 2s;
        }}
}}
"""

# kubespray, roles/kubernetes/node/templates/loadbalancer/nginx.conf.j2; its http section only answers health checks.
_KUBESPRAY_NGINX = """\
{load_module}
error_log stderr notice;
pid stream.pid;

worker_processes 2;
worker_rlimit_nofile 130048;
worker_shutdown_timeout 10s;

events {{
  multi_accept on;
  use epoll;
  worker_connections 16384;
}}

stream {{
  upstream kube_apiserver {{
    least_conn;
    {servers}
  }}

  server {{
    listen        127.0.0.1:6443;
    proxy_pass    kube_apiserver;
    proxy_timeout 10m;
    proxy_connect_timeout 1s;
  }}
}}
"""


def _nginx(template: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        module = nginx.STREAM_MODULE
        configuration = template.format(
            load_module=f"load_module {module};" if module.exists() else "",
            servers=" ".join(f"server {server};" for server in place.servers),
        )
        return nginx.command(configuration, place.directory)

    return command


# kubespray, roles/kubernetes/node/templates/loadbalancer/haproxy.cfg.j2
_KUBESPRAY_HAPROXY = """\
global
    maxconn                 4000
    log                     127.0.0.1 local0

defaults
    mode                    http
    log                     global
    option                  httplog
    option                  dontlognull
    option                  http-server-close
    option                  redispatch
    retries                 5
    timeout http-request    5m
    timeout queue           5m
    timeout connect         30s
    timeout client          5m
    timeout server          15m
    timeout http-keep-alive 30s
    timeout check           30s
    maxconn                 4000

frontend kube_api_frontend
  bind 127.0.0.1:6443
  mode tcp
  option tcplog
  default_backend kube_api_backend

backend kube_api_backend
  mode tcp
  balance leastconn
  default-server inter 15s downinter 15s rise 2 fall 2 slowstart 60s maxconn 1000 maxqueue 256 weight 100
  option httpchk GET /healthz
  http-check expect status 200
  {servers}
"""

# As good as we could make it: the probe and its timing as kubelb's, sessions of a dead server cut.
_TUNED_HAPROXY = """\
global
    maxconn 4000

defaults
    mode tcp
    retries 3
    option redispatch 1
    timeout connect 250ms
    timeout client 24h
    timeout server 24h
    timeout check 1s
    option clitcpka
    option srvtcpka

frontend kube_api_frontend
    bind 127.0.0.1:6443
    default_backend kube_api_backend

backend kube_api_backend
    balance leastconn
    option httpchk GET /readyz
    http-check expect status 200
    default-server check check-ssl verify none inter 1s fastinter 500ms downinter 1s fall 2 rise 1
    default-server observe layer4 error-limit 1 on-error fastinter on-marked-down shutdown-sessions
    default-server slowstart 10s tcp-ut 5s
    {servers}
"""


def haproxy_binary() -> str | None:
    """Debian keeps it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def _haproxy(template: str, options: str = "") -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        servers = [f"server {number} {server} {options}" for number, server in enumerate(place.servers)]
        file = place.directory / "haproxy.cfg"
        file.write_text(template.format(servers="\n    ".join(servers)))
        return [haproxy_binary() or "haproxy", "-db", "-f", str(file)]

    return command


PEERS: tuple[Peer, ...] = (
    Peer("kubelb", "kubelb", _kubelb),
    Peer("nginx-rke", "nginx, RKE", _nginx(_RKE)),
    Peer("nginx-kubespray", "nginx, kubespray", _nginx(_KUBESPRAY_NGINX)),
    Peer(
        "haproxy-kubespray",
        "HAProxy, kubespray",
        _haproxy(_KUBESPRAY_HAPROXY, "check check-ssl verify none"),
        settle_seconds=17.0,
    ),
    Peer("haproxy-tuned", "HAProxy, tuned", _haproxy(_TUNED_HAPROXY)),
)
"""The first is measured against the goals."""
