"""nginx's ``stream`` with the file RKE gives it (rancher/rke-tools, templates/nginx.tmpl)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import nginx

WORKER_CONNECTIONS = 4096
"""RKE's 1024 is too few for 1,000 sessions of two connections each on one worker; all else is as in its file."""

_CONFIGURATION = """\
{load_module}
error_log stderr notice;
pid stream.pid;

worker_processes auto;
events {{
  multi_accept on;
  use epoll;
  worker_connections {worker_connections};
}}

stream {{
        upstream kube_apiserver {{
            server 127.0.0.1:{origin_port};
        }}

        server {{
            listen        127.0.0.1:{port};
            proxy_pass    kube_apiserver;
            proxy_timeout 10m;
            proxy_connect_timeout 2s;
        }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """The baseline; under a second name also a subject, which shows how much of a ratio is noise."""

    name: str = "nginx"

    def command(self, port: int, origin_port: int, directory: Path) -> list[str]:
        module = nginx.STREAM_MODULE
        configuration = _CONFIGURATION.format(
            load_module=f"load_module {module};" if module.exists() else "",
            worker_connections=WORKER_CONNECTIONS,
            origin_port=origin_port,
            port=port,
        )
        return nginx.command(configuration, directory)
