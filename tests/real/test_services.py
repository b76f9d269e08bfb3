"""Servers that come from SRV records: the whole program, and a DNS server of the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubelb.config.model.pools import Discovery, Server
from kubelb.config.values import Address, Duration
from tests.support.eventually import eventually
from tests.support.identity import asked, keep, leave, refusing
from tests.support.nameserver import NameServer, a_name_server
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

SERVICE = "_echo._tcp.example.org"
HOSTS = {"a.example.org": "127.0.0.2", "b.example.org": "127.0.0.3", "c.example.org": "127.0.0.4"}
A, B, C = HOSTS
FOR_LONG = Duration(3600)


class Rig:
    """Two servers listen at all of 127.0.0.0/8, each on a port of its own, and say where they were reached."""

    def __init__(self, proxy: Proxy, names: NameServer, ports: list[int]) -> None:
        self.proxy = proxy
        self.names = names
        self.first, self.second = ports

    def reached(self, times: int = 8) -> Counter[str]:
        """How often each was, of so many times."""
        return Counter(asked(self.proxy.address) for _ in range(times))

    def says(self, *records: tuple[int, int, int, str]) -> None:
        """Priority, weight, port and host of each."""
        self.names.services[SERVICE] = records

    def leads_to(self, *ends: tuple[str, int]) -> None:
        wanted = {f"{HOSTS[host]}:{port}" for host, port in ends}
        eventually(lambda: set(self.reached()) == wanted, "these are reached and no other")

    def members(self) -> list[tuple[str, str]]:
        """Those that have not left, with their names."""
        return [(server.name, server.address) for server in self.proxy.servers()]

    def backups(self) -> set[str]:
        """The hosts of those that have not been told to leave."""
        servers = [server for server in self.proxy.servers() if server.state != "draining"]
        return {server.name.partition(":")[0] for server in servers if server.backup}

    def keep_at(self, host: str, port: int) -> Any:
        """A session there."""
        while True:
            client, name = keep(self.proxy.address)
            if name == f"{HOSTS[host]}:{port}":
                return client
            leave(client)


@contextmanager
def a_rig(directory: Path, *others: Server, **settings: Any) -> Iterator[Rig]:
    """The service is at A at first, on the first port; ``settings`` are those of the configured server."""
    with ExitStack() as stack:
        names = stack.enter_context(a_name_server())
        names.hosts = {host: [address] for host, address in HOSTS.items()}
        ports = [port for _, port in stack.enter_context(EchoServers(["0.0.0.0", "0.0.0.0"])).addresses]
        names.services[SERVICE] = [(1, 1, ports[0], A)]
        listen = stack.enter_context(reserved())
        server = Server(address=Address("example.org", 0), service="echo", **settings)
        config = a_config(listen, [server, *others], "round_robin", workers=1)
        resolver = (Address(*names.address),)
        discovery = Discovery(source="dns", resolver=resolver, interval=Duration(0.05), timeout=Duration(0.5))
        pool = msgspec.structs.replace(config.pools["pool"], discovery=discovery, drain_timeout=FOR_LONG)
        config = msgspec.structs.replace(config, pools={"pool": pool})
        rig = Rig(stack.enter_context(running(directory, config=config)), names, ports)
        eventually(lambda: rig.members()[:1] == [(f"{A}:{rig.first}", f"{HOSTS[A]}:{rig.first}")], "it is a member")
        yield rig


def test_records_come_and_go_while_sessions_live(tmp_path: Path) -> None:
    with a_rig(tmp_path) as rig, rig.keep_at(A, rig.first) as stays:
        rig.says((1, 1, rig.first, A), (1, 1, rig.second, B))
        rig.leads_to((A, rig.first), (B, rig.second))
        assert rig.members() == [
            (f"{A}:{rig.first}", f"{HOSTS[A]}:{rig.first}"),
            (f"{B}:{rig.second}", f"{HOSTS[B]}:{rig.second}"),
        ]
        with rig.keep_at(B, rig.second) as leaves:
            rig.says((1, 1, rig.first, A), (1, 1, rig.first, B))
            rig.leads_to((A, rig.first), (B, rig.first))
            assert (f"{B}:{rig.second}", f"{HOSTS[B]}:{rig.second}") in rig.members()
            assert echoes(leaves)
            leave(leaves)
        eventually(lambda: len(rig.members()) == 2, "it has gone with its last session")
        rig.names.hosts[A] = [HOSTS[C]]
        eventually(lambda: f"{HOSTS[C]}:{rig.first}" in rig.reached(), "the host has another address")
        assert echoes(stays)


def test_the_best_priority_first_and_the_others_as_backups(tmp_path: Path) -> None:
    with a_rig(tmp_path) as rig, refusing(["127.0.0.2"]) as ((_, dead),):
        rig.says((10, 1, rig.first, B), (20, 1, rig.first, C))
        rig.leads_to((B, rig.first))
        assert rig.backups() == {C}
        with rig.keep_at(B, rig.first) as client:
            rig.says((5, 1, dead, A), (10, 1, rig.first, B), (20, 1, rig.first, C))
            eventually(lambda: rig.backups() == {B, C}, "both are backups now")
            rig.leads_to((B, rig.first), (C, rig.first))
            rig.says((20, 1, rig.first, C))
            rig.leads_to((C, rig.first))
            assert echoes(client)


def test_who_only_gets_another_weight_is_the_same_server(tmp_path: Path) -> None:
    with a_rig(tmp_path) as rig, rig.keep_at(A, rig.first) as client:
        rig.says((1, 3, rig.first, A), (1, 1, rig.first, B))
        ends = [f"{HOSTS[host]}:{rig.first}" for host in (A, B)]
        eventually(lambda: rig.reached() == {ends[0]: 6, ends[1]: 2}, "three to one")
        rig.says((1, 3, rig.first, A), (1, 9, rig.first, B))
        eventually(lambda: rig.reached() == {ends[0]: 2, ends[1]: 6}, "one to three")
        assert echoes(client)
        *_, last = rig.proxy.log.wait_for("members_changed", 3, pool="pool", server=SERVICE)
        assert (last["added"], last["removed"], last["altered"]) == ([], [], [ends[1]])
        assert [server.active for server in rig.proxy.servers()] == [1, 0]


def test_a_configured_backup_takes_the_best_priority_alone(tmp_path: Path) -> None:
    with EchoServers() as echo, a_rig(tmp_path, Server(address=Address(*echo.addresses[0])), backup=True) as rig:
        host, port = echo.addresses[0]
        rig.says((2, 1, rig.first, B), (3, 1, rig.first, C))
        eventually(lambda: rig.members()[0][0] == f"{B}:{rig.first}", "it is a member")
        assert rig.backups() == {B}
        assert set(rig.reached()) == {f"{host}:{port}"}


def _silent(rig: Rig) -> None:
    rig.names.silent = True


def _failing(rig: Rig) -> None:
    rig.names.code = 2


def _forgetful(rig: Rig) -> None:
    del rig.names.services[SERVICE]


def _empty(rig: Rig) -> None:
    rig.says()


def _ended(rig: Rig) -> None:
    rig.says((0, 0, 0, "."))


def _without_addresses(rig: Rig) -> None:
    rig.names.hosts = {}


def _nonsense(rig: Rig) -> None:
    rig.says((1, 1, 1, "no host"))


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (_silent, "does not answer"),
        (_failing, "server failure"),
        (_forgetful, "no such name"),
        (_empty, "it has no SRV record"),
        (_ended, "it has no SRV record"),
        (_without_addresses, "no such name"),
        (_nonsense, "gives a broken answer: a service is at what is no host name"),
    ],
)
def test_members_stay_without_an_answer(tmp_path: Path, break_it: Callable[[Rig], None], reason: str) -> None:
    with a_rig(tmp_path) as rig:
        rig.says((1, 1, rig.first, A), (1, 1, rig.second, B))
        rig.leads_to((A, rig.first), (B, rig.second))
        break_it(rig)
        (failed, *_) = rig.proxy.log.wait_for("lookup_failed", pool="pool", server=SERVICE)
        assert reason in failed["reason"]
        assert set(rig.reached()) == {f"{HOSTS[A]}:{rig.first}", f"{HOSTS[B]}:{rig.second}"}
        rig.names.silent, rig.names.code = False, None
        rig.names.hosts = {host: [address] for host, address in HOSTS.items()}
        rig.says((1, 1, rig.first, C))
        rig.leads_to((C, rig.first))


def test_one_host_without_addresses_stays_and_the_rest_goes_on(tmp_path: Path) -> None:
    with a_rig(tmp_path) as rig:
        rig.says((1, 1, rig.first, A), (1, 1, rig.first, B))
        rig.leads_to((A, rig.first), (B, rig.first))
        del rig.names.hosts[A]
        rig.says((1, 1, rig.first, A), (1, 1, rig.first, C))
        rig.leads_to((A, rig.first), (C, rig.first))
        (failed, *_) = rig.proxy.log.wait_for("lookup_failed", pool="pool", server=SERVICE)
        assert failed["reason"].startswith(f"{A}: ")
        rig.says((1, 1, rig.first, C))
        rig.leads_to((C, rig.first))


def test_another_supervisor_and_another_control_keep_the_members(tmp_path: Path) -> None:
    with a_rig(tmp_path) as rig, rig.keep_at(A, rig.first) as client:
        rig.says((1, 1, rig.first, A), (2, 1, rig.second, B))
        eventually(lambda: len(rig.members()) == 2, "both are members")
        members = rig.members()
        rig.names.silent = True
        rig.proxy.upgrade()
        assert rig.members() == members
        assert rig.backups() == {B}
        control = rig.proxy.control()
        control.kill()
        eventually(lambda: not control.is_running() and rig.members() == members, "another control has taken over")
        assert echoes(client)
        rig.names.silent = False
        rig.says((1, 1, rig.first, B))
        rig.leads_to((B, rig.first))
        assert echoes(client)


def test_nginxs_service_with_a_resolver_of_its_upstream(tmp_path: Path) -> None:
    """Which counts more than that of ``stream``: who is asked there would say something else."""
    with (
        a_name_server() as names,
        a_name_server() as others,
        EchoServers(["0.0.0.0"]) as servers,
        reserved() as listen,
    ):
        port = servers.addresses[0][1]
        for one, host in ((names, A), (others, B)):
            one.hosts = {host: [HOSTS[host]]}
            one.services[SERVICE] = [(1, 1, port, host)]
        conf = tmp_path / "nginx.conf"
        conf.write_text(
            f"events {{}} stream {{ resolver 127.0.0.1:{others.address[1]} valid=1s; upstream api {{ zone api 64k;"
            f"resolver 127.0.0.1:{names.address[1]} valid=1s; server example.org service=echo resolve; }}"
            f"server {{ listen 127.0.0.1:{listen[1]}; proxy_pass api; }} }}"
        )
        with running(tmp_path, "--nginx-conf", str(conf)) as proxy:
            eventually(lambda: asked(proxy.address) == f"{HOSTS[A]}:{port}", "its own resolver is asked")
            names.hosts[C], names.services[SERVICE] = [HOSTS[C]], [(1, 1, port, C)]
            eventually(lambda: asked(proxy.address) == f"{HOSTS[C]}:{port}", "and asked again")
            assert others.asked == []
