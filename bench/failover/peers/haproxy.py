"""HAProxy as kubespray sets it, and as good as we could make it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable

from bench.failover.peers.peer import Place

# kubespray, roles/kubernetes/node/templates/loadbalancer/haproxy.cfg.j2
KUBESPRAY = """\
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
TUNED = """\
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


def binary() -> str | None:
    """Debian keeps it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def version() -> str:
    done = subprocess.run([binary() or "haproxy", "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"version ([\d.]+)", done.stdout)
    return found[1] if found else "unknown"


def running(template: str, options: str = "") -> Callable[[Place], list[str]]:
    """HAProxy with such a file; ``options`` are each server's."""

    def command(place: Place) -> list[str]:
        servers = [f"server {number} {server} {options}" for number, server in enumerate(place.servers)]
        file = place.directory / "haproxy.cfg"
        file.write_text(template.format(servers="\n    ".join(servers)))
        return [binary() or "haproxy", "-db", "-f", str(file)]

    return command
