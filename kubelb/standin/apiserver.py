"""A kube-apiserver as far as kubectl's simplest commands and health probes see it, over TLS and HTTP/1.1.

A process of its own (``python -m kubelb.standin.apiserver``), so that killing it is a real death: its
connections are cut and its port is refused. It prints ``listening HOST:PORT`` once it does, and serves until
its standard input ends, so it does not outlive who started it. The main thread waits for that end, one thread
for signals, one accepts, and each connection has a thread, which owns and closes its socket. Every answer says
who gave it in the header ``X-Standin``.

After SIGUSR1 it answers ``/readyz`` as one that is about to go (500) and everything else as before; SIGUSR2 takes
that back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import ssl
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubelb.reasons import reason_of
from kubelb.tls_reasons import tls_reason_of

_TICK = 0.5
"""Seconds between two events of a watch."""

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

_VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.1",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}

_NAMESPACES = [
    {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
    for name in ("default", "kube-system")
]

_RESOURCE = {
    "name": "namespaces",
    "singularName": "namespace",
    "namespaced": False,
    "kind": "Namespace",
    "shortNames": ["ns"],
    "verbs": ["get", "list", "watch"],
}

_OBJECTS: dict[str, object] = {
    "/version": _VERSION,
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [_RESOURCE]},
    "/api/v1/namespaces": {
        "kind": "NamespaceList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"},
        "items": _NAMESPACES,
    },
    **{f"/api/v1/namespaces/{namespace['metadata']['name']}": namespace for namespace in _NAMESPACES},  # type: ignore[index]
}

_HEALTH = ("/readyz", "/livez", "/healthz")

_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)

_NOT_READY = b"[+]ping ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"


def _failure(status: HTTPStatus) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": status.description,
        "reason": status.phrase.replace(" ", ""),
        "code": status.value,
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/readyz" and not self.server.ready:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_READY, _TEXT)
        elif url.path in _HEALTH:
            self._answer(HTTPStatus.OK, b"ok", _TEXT)
        elif url.path == "/api/v1/namespaces" and query.get("watch", [""])[0] in ("1", "true"):
            self._watch(float(query.get("timeoutSeconds", ["inf"])[0]))
        elif url.path in _OBJECTS:
            self._answer(HTTPStatus.OK, json.dumps(_OBJECTS[url.path]).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, json.dumps(_failure(HTTPStatus.NOT_FOUND)).encode())

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = _JSON) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _watch(self, seconds: float) -> None:
        """Every namespace once, then a bookmark every tick, as a chunk each, for so long or until the client goes."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _JSON)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end = time.monotonic() + seconds
        for namespace in _NAMESPACES:
            self._event("ADDED", namespace)
        bookmark = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}}
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_TICK, left))
            self._event("BOOKMARK", bookmark)
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, kind: str, thing: object) -> None:
        line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        self.send_header("X-Standin", self.server.name)

    def log_message(self, *_arguments: object) -> None:
        """Requests are not logged."""


class ApiServer(ThreadingTCPServer):
    """Listens once made; ``serve_forever`` answers."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str, address: tuple[str, int], certificate: str) -> None:
        """``certificate`` is the file of the private key and chain; port 0 lets the kernel pick.

        Raises :class:`OSError` where the address cannot be had.
        """
        self.name = name
        self.ready = True
        """What ``/readyz`` says."""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.set_alpn_protocols(["http/1.1"])
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """On the connection's own thread, so that a client slow in its handshake holds up nobody."""
        with self._tls.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or does not speak TLS is nothing to report."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _obey(server: ApiServer) -> None:
    """Signals wait for :func:`signal.sigwait`: a handler would wait for a main thread that is about to read."""
    while True:
        server.ready = signal.sigwait(_SIGNALS) == signal.SIGUSR2


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kubelb.standin.apiserver", description="A kube-apiserver stand-in."
    )
    parser.add_argument("--name", required=True, help="what the header X-Standin says")
    parser.add_argument("--listen", required=True, help="HOST:PORT; port 0: any free one")
    parser.add_argument("--certificate", required=True, help="PEM file of the private key and the chain")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    try:
        server = ApiServer(arguments.name, (host.strip("[]"), int(port)), arguments.certificate)
    except ssl.SSLError as error:
        print(f"{arguments.certificate}: {tls_reason_of(error)}", flush=True)
        return 1
    except OSError as error:
        print(f"{arguments.listen}: {reason_of(error)}", flush=True)
        return 1
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    threading.Thread(target=_obey, args=(server,), name="obey", daemon=True).start()
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    print(f"listening {host}:{server.server_address[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.buffer.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
