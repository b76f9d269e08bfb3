"""The installers' own files, the environment and flags, from the command line to a served session."""

from __future__ import annotations

import http.client
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kubelb.snapshot import SocketAddress
from tests.support.exclusive import only_one
from tests.support.identity import IdentityServers, ask, name_of
from tests.support.proxy import reserved, running
from tests.support.requirements import loopbacks, missing

pytestmark = pytest.mark.usefixtures("no_leaks")

CORPUS = Path(__file__).parent.parent / "corpus" / "nginx" / "valid"


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with IdentityServers(["127.0.0.1", "127.0.0.2", "127.0.0.3"]) as running_servers:
        yield running_servers.addresses


def the_file(name: str, directory: Path, servers: list[SocketAddress], ports: dict[int, int]) -> Path:
    """A copy of an installer's file that differs in addresses and ports only."""
    text = (CORPUS / name).read_text()
    for number, server in enumerate(servers, 11):
        assert f"10.0.0.{number}:6443" in text
        text = text.replace(f"10.0.0.{number}:6443", name_of(server))
    for was, becomes in ports.items():
        text, count = re.subn(rf"(?<=[ :]){was};", f"{becomes};", text)
        assert count
    file = directory / "nginx.conf"
    file.write_text(text)
    return file


def names(servers: list[SocketAddress]) -> set[str]:
    return {name_of(server) for server in servers}


def test_rkes_file(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with reserved("0.0.0.0") as listen:
        file = the_file("rke.conf", tmp_path, servers, {6443: listen[1]})
        with running(tmp_path, "--nginx-conf", str(file)) as proxy:
            assert {ask(("127.0.0.1", listen[1])) for _ in range(12)} == names(servers)
            (pool,) = proxy.status().pools
            assert (pool.name, pool.balance) == ("kube_apiserver", "round_robin")


def test_kubesprays_file(tmp_path: Path, servers: list[SocketAddress]) -> None:
    hosts = loopbacks()
    name = "kubespray.conf" if len(hosts) == 2 else "kubespray-ipv4.conf"
    with reserved() as (_, port), reserved("0.0.0.0") as (_, health), ExitStack() as stack:
        if len(hosts) == 2:
            stack.enter_context(reserved("::1", port))
            stack.enter_context(reserved("::", health))
        file = the_file(name, tmp_path, servers, {6443: port, 8081: health})
        proxy = stack.enter_context(running(tmp_path, "--nginx-conf", str(file)))
        for host in hosts:
            assert {ask((host, port)) for _ in range(12)} == names(servers)
            assert _get(host, health, "/healthz") == (200, b"")
            assert _get(host, health, "/nowhere")[0] == 404
        clients = len(hosts) * (12 + 2) + 1
        status, text = _get("127.0.0.1", health, "/stub_status")
        assert status == 200
        assert b"server accepts handled requests\n %d %d " % (clients, clients) in text
        (pool,) = proxy.status().pools
        assert (pool.name, pool.balance) == ("kube_apiserver", "least_conn")
        assert len(proxy.workers()) == 2


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.fixture
def port_6443() -> Iterator[None]:
    with only_one("port-6443"):
        yield


@pytest.mark.usefixtures("port_6443")
def test_cp_hosts_of_the_environment(tmp_path: Path, servers: list[SocketAddress]) -> None:
    try:
        with reserved("0.0.0.0", 6443) as listen, closing(socket.create_server(listen)):
            pass
    except OSError:
        missing("port 6443")
    hosts = ",".join(map(name_of, servers))
    with running(tmp_path, environment={"CP_HOSTS": hosts}) as proxy:
        assert proxy.addresses == [("0.0.0.0", 6443)]
        assert {ask(("127.0.0.1", 6443)) for _ in range(12)} == names(servers)


def test_flags(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with reserved() as one, reserved("127.0.0.2") as other:
        listen = [flag for address in (one, other) for flag in ("--listen", name_of(address))]
        server = [flag for address in servers for flag in ("--server", name_of(address))]
        flags = [*listen, *server, "--balance", "round_robin", "--workers", "1", "--health", "off"]
        with running(tmp_path, *flags) as proxy:
            assert proxy.addresses == [one, other]
            assert len(proxy.workers()) == 1
            for address in (one, other):
                assert {ask(address) for _ in range(3)} == names(servers)


def test_workers_and_their_cpus(tmp_path: Path, servers: list[SocketAddress]) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with reserved() as listen:
        flags = ["--listen", name_of(listen), "--server", name_of(servers[0])]
        with running(tmp_path, *flags) as proxy:
            workers = proxy.workers()
            assert len(workers) == min(len(cpus), 4)
            assert all(sorted(worker.cpu_affinity()) == cpus for worker in workers)
        with running(tmp_path, *flags, "--pin", "--workers", "2") as proxy:
            pinned = sorted(cpu for worker in proxy.workers() for cpu in worker.cpu_affinity())
            assert pinned == sorted([cpus[0], cpus[1 % len(cpus)]])
            assert ask(listen) == name_of(servers[0])
