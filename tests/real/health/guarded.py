"""Servers of a cluster that tell strangers nothing, and kubeconfigs for it."""

from __future__ import annotations

import json
import socket
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from kubelb.config.model.pools import Health
from tests.real.health.rig import OK, WebServer, text_answer, tls


class Authority(NamedTuple):
    """Of a cluster: its servers' certificates and its nodes' are from it."""

    ca: trustme.CA
    server: Path
    """The file of a server's key and certificate, for 127.0.0.1 and ``kubernetes``."""

    @classmethod
    def make(cls, directory: Path) -> Authority:
        ca = trustme.CA()
        file = directory / "server.pem"
        ca.issue_cert("127.0.0.1", "kubernetes").private_key_and_cert_chain_pem.write_to_path(str(file))
        return cls(ca, file)

    @property
    def pem(self) -> bytes:
        return self.ca.cert_pem.bytes()

    def node(self, name: str) -> tuple[bytes, bytes]:
        """A client's certificate and its key."""
        leaf = self.ca.issue_cert(name, common_name=name)
        return leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()


class ApiServer(WebServer):
    """Answers 401 to whoever shows neither a certificate of the cluster nor the right token."""

    def __init__(self, authority: Authority) -> None:
        context = tls(str(authority.server))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=authority.pem.decode())
        super().__init__(OK, context)
        self.token = "the right one"
        self.seen: list[str] = []
        """The names of the clients' certificates; empty: it showed none."""

    def reply(self, sock: socket.socket, request: str) -> bytes:
        assert isinstance(sock, ssl.SSLSocket)
        shown: Any = sock.getpeercert() or {}
        names = (part for parts in shown.get("subject", ()) for part in parts)
        self.seen.append("".join(value for key, value in names if key == "commonName"))
        trusted = bool(shown) or f"Authorization: Bearer {self.token}" in request.split("\r\n")
        return OK if trusted else text_answer(401, b"")


def data(pem: bytes) -> str:
    return b64encode(pem).decode()


def write(file: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Health:
    """A kubeconfig, written as rotation does it, and a probe that uses it."""
    text = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    replace(file, json.dumps(text).encode())
    return Health(kubeconfig=str(file))


def replace(file: Path, content: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.rename(file)
