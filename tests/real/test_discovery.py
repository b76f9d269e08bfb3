"""Servers whose names are looked up while the proxy runs: the whole program, and a DNS server of the test."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.pools import Discovery, Server
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import asked, keep, leave
from tests.support.nameserver import NameServer, a_name_server
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

NAME = "api.example.org"
A, B, C = "127.0.0.2", "127.0.0.3", "127.0.0.4"
FOR_LONG = Duration(3600)


class Rig:
    """One server listens at all of 127.0.0.0/8 and says where it was reached."""

    def __init__(self, proxy: Proxy, names: NameServer, file: Path, config: Config, port: int) -> None:
        self.proxy = proxy
        self.names = names
        self.file = file
        self.config = config
        self.port = port

    def members(self) -> list[str]:
        """Those that have not left."""
        return [server.address.partition(":")[0] for server in self.proxy.servers()]

    def reached(self) -> set[str]:
        return {asked(self.proxy.address).partition(":")[0] for _ in range(8)}

    def resolves_to(self, *hosts: str) -> None:
        self.names.hosts[NAME] = hosts
        eventually(lambda: self.reached() == set(hosts), "these are reached and no other")

    def keep_at(self, host: str) -> Any:
        """A session there."""
        while True:
            client, name = keep(self.proxy.address)
            if name == f"{host}:{self.port}":
                return client
            leave(client)

    def reload(self, **settings: object) -> None:
        pool = msgspec.structs.replace(self.config.pools["pool"], **settings)
        self.file.write_text(write_toml(msgspec.structs.replace(self.config, pools={"pool": pool})))
        assert adminclient.reload(self.proxy.runtime_dir) == ()


@contextmanager
def at_one_port(server: str, listen: str) -> Iterator[tuple[int, SocketAddress]]:
    """Servers at one address, and at another the same port, which is nobody's: it may be somebody's already."""
    with ExitStack() as stack:
        while True:
            port = stack.enter_context(EchoServers([server])).addresses[0][1]
            try:
                address = stack.enter_context(reserved(listen, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            break
        yield port, address


@contextmanager
def a_rig(
    directory: Path,
    *hosts: str,
    silent: bool = False,
    fixed: tuple[SocketAddress, ...] = (),
    of_listener: bool = False,
    listen: str = "127.0.0.1",
    **settings: Any,
) -> Iterator[Rig]:
    """The name has these ``hosts`` at first; ``settings`` are those of the discovery. With ``of_listener`` the
    servers listen at the first of the hosts, and at the port of the listener."""
    with ExitStack() as stack:
        names = stack.enter_context(a_name_server())
        names.hosts[NAME] = hosts
        names.silent = silent
        if of_listener:
            port, address = stack.enter_context(at_one_port(hosts[0], listen))
        else:
            port = stack.enter_context(EchoServers(["0.0.0.0"])).addresses[0][1]
            address = stack.enter_context(reserved(listen))
        config = a_config(address, [Server(address=Address(NAME, port)), *fixed], "round_robin")
        discovery = Discovery(
            source="dns",
            **{
                "resolver": (Address(*names.address),),
                "interval": Duration(0.05),
                "timeout": Duration(0.3),
                **settings,
            },
        )
        pool = msgspec.structs.replace(config.pools["pool"], discovery=discovery, drain_timeout=FOR_LONG)
        config = msgspec.structs.replace(config, pools={"pool": pool})
        proxy = stack.enter_context(running(directory, config=config))
        rig = Rig(proxy, names, directory / "kubelb.toml", config, port)
        if hosts and not silent:
            eventually(lambda: "" not in rig.reached(), "there are members")
        yield rig


def test_addresses_come_and_go_while_sessions_live(tmp_path: Path) -> None:
    with a_rig(tmp_path, A) as rig, rig.keep_at(A) as stays:
        rig.resolves_to(A, B)
        with rig.keep_at(B) as leaves:
            rig.resolves_to(C, A)
            assert sorted(rig.members()) == [A, B, C]
            assert echoes(stays)
            assert echoes(leaves)
            leave(leaves)
        eventually(lambda: rig.members() == [A, C], "it has gone with its last session")
        assert echoes(stays)
        rig.resolves_to(B)
        rig.resolves_to(A)
        assert echoes(stays)
        first, second, third = rig.proxy.log.wait_for("members_changed", 3, pool="pool", server=f"{NAME}:{rig.port}")
        assert (first["added"], first["removed"]) == ([f"{A}:{rig.port}"], [])
        assert (second["added"], second["removed"]) == ([f"{B}:{rig.port}"], [])
        assert (third["added"], third["removed"]) == ([f"{C}:{rig.port}"], [f"{B}:{rig.port}"])


def test_sessions_of_an_address_that_is_gone_have_their_time(tmp_path: Path) -> None:
    with a_rig(tmp_path, A, B) as rig:
        rig.reload(drain_timeout=Duration(0.05))
        with rig.keep_at(A) as client:
            rig.names.hosts[NAME] = [B]
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        eventually(lambda: rig.members() == [B], "it has gone")


def _silent(names: NameServer) -> None:
    names.silent = True


def _failing(names: NameServer) -> None:
    names.code = 2


def _forgetful(names: NameServer) -> None:
    del names.hosts[NAME]


def _empty(names: NameServer) -> None:
    names.hosts[NAME] = ()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (_silent, "does not answer"),
        (_failing, "server failure"),
        (_forgetful, "no such name"),
        (_empty, "it has no address"),
    ],
)
def test_members_stay_without_an_answer(tmp_path: Path, break_it: Any, reason: str) -> None:
    with a_rig(tmp_path, A, B) as rig:
        rig.resolves_to(A, B)
        break_it(rig.names)
        (failed,) = rig.proxy.log.wait_for("lookup_failed", pool="pool", server=f"{NAME}:{rig.port}")
        assert reason in failed["reason"]
        assert rig.reached() == {A, B}
        rig.names.silent, rig.names.code = False, None
        rig.resolves_to(C)


def test_a_start_without_an_answer(tmp_path: Path) -> None:
    """Clients are turned away until there is one; servers that are no names are there at once."""
    with a_rig(tmp_path, A, silent=True) as rig:
        rig.proxy.log.wait_for("lookup_failed")
        assert rig.members() == []
        assert asked(rig.proxy.address) == ""
        rig.names.silent = False
        rig.resolves_to(A)


def test_a_reload_without_an_answer_keeps_the_members_and_takes_the_settings(tmp_path: Path) -> None:
    with a_rig(tmp_path, A, B) as rig, rig.keep_at(A) as client:
        rig.resolves_to(A, B)
        rig.names.silent = True
        server = Server(address=Address(NAME, rig.port), tier=3)
        rig.reload(servers=(server, Server(address=Address(C, rig.port), backup=True)))
        assert [(one.address.partition(":")[0], one.tier) for one in rig.proxy.servers()] == [(A, 3), (B, 3), (C, 0)]
        assert echoes(client)
        rig.reload(servers=(Server(address=Address(C, rig.port)),), discovery=None)
        eventually(lambda: rig.reached() == {C}, "the names are no members any more")
        assert echoes(client)


def test_another_supervisor_and_another_control_keep_the_members(tmp_path: Path) -> None:
    with a_rig(tmp_path, A, B) as rig, rig.keep_at(A) as client:
        rig.resolves_to(A, B)
        rig.names.silent = True
        rig.proxy.upgrade()
        assert rig.reached() == {A, B}
        assert echoes(client)
        control = rig.proxy.control()
        control.kill()
        eventually(lambda: not control.is_running() and rig.members() == [A, B], "another control has taken over")
        rig.names.silent = False
        rig.resolves_to(B, C)
        assert echoes(client)


def test_a_name_that_comes_to_mean_the_listener(tmp_path: Path) -> None:
    """It is no server as long as it does; told once."""
    with a_rig(tmp_path, A, of_listener=True) as rig:
        rig.names.hosts[NAME] = [A, "127.0.0.1"]
        (told,) = rig.proxy.log.wait_for("server_left_out", pool="pool", server=f"{NAME}:{rig.port}")
        own = f"127.0.0.1:{rig.port}"
        assert told["reason"] == f"{own} is listened on here, and leads back to this pool"
        assert rig.reached() == {A}
        rig.names.hosts[NAME] = ["127.0.0.1"]
        eventually(lambda: rig.members() == [], "it has no server any more")
        assert rig.reached() == {""}
        rig.reload()
        assert rig.reached() == {""}
        rig.resolves_to(A)
        assert rig.proxy.log.events("server_left_out") == [told]
        rig.names.hosts[NAME] = ["127.0.0.1", A]
        rig.proxy.log.wait_for("server_left_out", 2)
        assert rig.members() == [A]


def test_a_reload_that_listens_where_a_name_leads(tmp_path: Path) -> None:
    with a_rig(tmp_path, A, "127.0.0.1", of_listener=True, listen=C) as rig:
        eventually(lambda: rig.members() == ["127.0.0.1", A], "both are members")
        rig.names.silent = True
        listener = rig.config.listeners[0]
        addresses = (*listener.listen, Address("127.0.0.1", rig.port))
        rig.config = msgspec.structs.replace(
            rig.config, listeners=(msgspec.structs.replace(listener, listen=addresses),)
        )
        rig.reload()
        eventually(lambda: rig.members() == [A], "the listener is no member any more")
        assert {asked((C, rig.port)) for _ in range(4)} == {f"{A}:{rig.port}"}


def test_more_addresses_than_a_datagram_holds(tmp_path: Path) -> None:
    hosts = [f"127.0.1.{i}" for i in range(1, 101)]
    with a_rig(tmp_path, *hosts) as rig:
        eventually(lambda: sorted(rig.members()) == sorted(hosts), "all are members")
        assert "tcp" in rig.names.asked
        assert rig.reached() <= set(hosts)


def test_more_addresses_than_can_be_counted_change_nothing(tmp_path: Path) -> None:
    with a_rig(tmp_path, A) as rig:
        rig.names.hosts[NAME] = [f"127.0.1.{i}" for i in range(256)]
        (refused,) = rig.proxy.log.wait_for("members_not_changed")
        assert (refused["found"], refused["reason"]) == (256, "too many servers, with those that have not left yet")
        assert rig.reached() == {A}
        rig.resolves_to(B)


def test_the_answer_says_for_how_long_it_holds(tmp_path: Path) -> None:
    with a_rig(tmp_path, A, interval=None) as rig:
        rig.resolves_to(A, B)
        rig.names.ttl = 3600
        rig.resolves_to(A)
        asked = len(rig.names.asked)
        rig.names.hosts[NAME] = [C]
        rig.reload()
        rig.resolves_to(C)
        assert len(rig.names.asked) - asked <= 4


def test_without_a_resolver_the_system_is_asked(tmp_path: Path) -> None:
    with EchoServers(["127.0.0.1"]) as servers, reserved() as listen:
        config = a_config(listen, [("localhost", servers.addresses[0][1])])
        discovery = Discovery(source="dns", ipv6=False)
        pool = msgspec.structs.replace(config.pools["pool"], discovery=discovery)
        with running(tmp_path, config=msgspec.structs.replace(config, pools={"pool": pool})) as proxy:
            proxy.log.wait_for("members_changed")
            eventually(lambda: asked(proxy.address).startswith("127.0.0.1:"), "it is reached")


def test_nginxs_resolve(tmp_path: Path) -> None:
    with a_name_server() as names, EchoServers(["0.0.0.0"]) as servers, reserved() as listen:
        names.hosts[NAME] = [A]
        port = servers.addresses[0][1]
        conf = tmp_path / "nginx.conf"
        conf.write_text(
            f"events {{}} stream {{ resolver 127.0.0.1:{names.address[1]} valid=1s ipv6=off; resolver_timeout 1s;"
            f"upstream api {{ zone api 64k; server {NAME}:{port} resolve; server {C}:{port} backup; }}"
            f"server {{ listen 127.0.0.1:{listen[1]}; proxy_pass api; }} }}"
        )
        with running(tmp_path, "--nginx-conf", str(conf)) as proxy:
            eventually(lambda: asked(proxy.address) == f"{A}:{port}", "the name's is reached")
            names.hosts[NAME] = [B]
            eventually(lambda: asked(proxy.address) == f"{B}:{port}", "the other one is reached")
