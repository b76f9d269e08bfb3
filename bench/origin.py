"""The HTTP origin behind every peer: an nginx of its own.

Its bytes are copied out of its memory, as an apiserver's are. With ``sendfile``, and a client that lets the kernel
discard what comes, nobody on the whole path would touch a byte: a relay that splices then moves three to five times
what nginx moves, which no real server and client would see.
"""

from __future__ import annotations

from pathlib import Path

from bench.nginx import command

BULK_BYTES = 256 << 20
REPLIES = {"/16k": 16 << 10, "/64k": 64 << 10, "/bulk": BULK_BYTES}
"""Sizes of the files served, by path; ``/small`` is a reply of about 140 bytes, head included."""

_CONFIGURATION = """\
worker_processes auto;
error_log stderr error;
pid origin.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    sendfile off;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {directory};
        location = /small {{ return 200 "ok\\n"; }}
    }}
}}
"""


def prepare(directory: Path) -> None:
    """Put the files there; holes, for nobody looks at what is in them and the page cache holds them all the same."""
    for path, size in REPLIES.items():
        with (directory / path.lstrip("/")).open("wb") as file:
            file.truncate(size)


def origin_command(port: int, directory: Path) -> list[str]:
    """How to run it, prepared, in the foreground."""
    return command(_CONFIGURATION.format(port=port, directory=directory), directory)
