"""nginx with the files that distributions write."""

from __future__ import annotations

from collections.abc import Callable

from bench import nginx
from bench.failover.peers.peer import Place

# rancher/rke-tools, templates/nginx.tmpl
RKE = """\
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
KUBESPRAY = """\
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


def running(template: str) -> Callable[[Place], list[str]]:
    """nginx with such a file."""

    def command(place: Place) -> list[str]:
        return nginx.command(configuration(template, place), place.directory)

    return command


def configuration(template: str, place: Place) -> str:
    """The file, with the servers in it."""
    module = nginx.STREAM_MODULE
    return template.format(
        load_module=f"load_module {module};" if module.exists() else "",
        servers=" ".join(f"server {server};" for server in place.servers),
    )
