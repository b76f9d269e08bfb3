"""The admin side of a running proxy over TCP, as Prometheus and people with a browser reach it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from kubelb.config.model.config import Admin
from kubelb.config.values import Address
from kubelb.snapshot import SocketAddress
from tests.support.log import DEADLINE
from tests.support.proxy import Proxy, a_proxy, reserved

Sample = tuple[str, frozenset[tuple[str, str]]]
"""Its name and labels."""


class Page(NamedTuple):
    code: int
    headers: http.client.HTTPMessage
    body: str


class Side:
    """A proxy and where its admin side is."""

    def __init__(self, proxy: Proxy, address: SocketAddress) -> None:
        self.proxy = proxy
        self.address = address

    def get(self, target: str, method: str = "GET") -> Page:
        with closing(http.client.HTTPConnection(*self.address, timeout=DEADLINE)) as connection:
            connection.request(method, target)
            response = connection.getresponse()
            return Page(response.status, response.headers, response.read().decode())

    def metrics(self) -> dict[Sample, float]:
        page = self.get("/metrics")
        assert (page.code, page.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page.body)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all that have these labels."""
        wanted = set(labels.items())
        return sum(value for (other, has), value in self.metrics().items() if other == name and wanted <= has)

    def processes(self) -> set[str]:
        return {dict(labels)["process"] for name, labels in self.metrics() if name == "kubelb_process_open_fds"}


@contextmanager
def a_side(
    directory: Path, servers: Sequence[SocketAddress], host: str = "127.0.0.1", **settings: object
) -> Iterator[Side]:
    with reserved(host) as (_, port):
        admin = Admin(listen=Address(host, port))
        with a_proxy(directory, servers, admin=admin, **settings) as proxy:  # type: ignore[arg-type]
            yield Side(proxy, ("127.0.0.1", port))
