"""Variables of one's own in a running proxy: which pool clients go to, after a reload and after an upgrade too."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.logs import AccessLog
from kubelb.config.model.pools import PASSIVE, Pool, Server
from kubelb.config.model.variables import Assignment, MapRegex, Variable
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.proxy import Proxy, a_config, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")


class Rig:
    def __init__(self, directory: Path, listen: SocketAddress, servers: list[SocketAddress]) -> None:
        self.log = directory / "log"
        one, two = (Pool(servers=(Server(address=Address(*server)),), health=PASSIVE) for server in servers)
        logs = (AccessLog(file=str(self.log), format="$remote_addr $zone $first $second"),)
        base = a_config(listen, [])
        assignments = (
            Assignment(variable="first", value="$zone"),
            Assignment(variable="second", value="${first}+"),
        )
        listener = msgspec.structs.replace(base.listeners[0], pool="$zone", assignments=assignments, access_logs=logs)
        zone = Variable(kind="geo", values={"127.0.0.2": "two", "127.0.0.3": "three"}, default="ONE")
        self.config = msgspec.structs.replace(
            base, listeners=(listener,), pools={"one": one, "two": two}, variables={"zone": zone}
        )
        self.file = directory / "kubelb.toml"
        self.write(self.config)
        self.proxy: Proxy

    def write(self, config: Config) -> None:
        self.file.write_text(write_toml(config))

    def lines(self, count: int) -> list[list[str]]:
        eventually(lambda: self.log.read_text().count("\n") == count, f"{count} lines")
        return sorted(line.split() for line in self.log.read_text().splitlines())


@pytest.fixture
def servers() -> Iterator[list[SocketAddress]]:
    with IdentityServers(["127.0.0.1", "127.0.0.2"], stay=True) as servers:
        yield servers.addresses


@pytest.fixture
def rig(tmp_path: Path, servers: list[SocketAddress]) -> Iterator[Rig]:
    with ExitStack() as stack:
        rig = Rig(tmp_path, stack.enter_context(reserved()), servers)
        rig.proxy = stack.enter_context(running(tmp_path, "--config", str(rig.file)))
        yield rig


def closed(address: SocketAddress, source: str) -> bool:
    """Whether a client from there is told nothing."""
    with socket.create_connection(address, 30, (source, 0)) as client:
        try:
            return client.recv(1) == b""
        except OSError as error:
            return error.errno == errno.ECONNRESET


def test_each_client_goes_where_his_variables_say(rig: Rig, servers: list[SocketAddress]) -> None:
    one, two = map(name_of, servers)
    address = rig.proxy.address
    assert [ask(address, source) for source in ("127.0.0.1", "127.0.0.2", "127.0.0.9")] == [one, two, one]
    assert closed(address, "127.0.0.3")
    rig.proxy.log.wait_for("no_such_pool", pool="three")
    assert rig.lines(4) == [
        ["127.0.0.1", "ONE", "ONE", "ONE+"],
        ["127.0.0.2", "two", "two", "two+"],
        ["127.0.0.3", "three", "three", "three+"],
        ["127.0.0.9", "ONE", "ONE", "ONE+"],
    ]


def test_regular_expressions_say_where_too(rig: Rig, servers: list[SocketAddress]) -> None:
    """What they capture is in the log, and which text was too long for them."""
    one, two = map(name_of, servers)
    lines = (MapRegex(pattern=r"^127\.(?<net>\d+\.\d+)\.[2-5]$", value="two"),)
    zone = Variable(kind="map", regexes=lines, default="one")
    long = Variable(kind="map", source="x" * 5000, regexes=lines, default="long")
    logs = (AccessLog(file=str(rig.log), format="$zone $net $long"),)
    listener = msgspec.structs.replace(rig.config.listeners[0], assignments=(), access_logs=logs)
    rig.write(msgspec.structs.replace(rig.config, listeners=(listener,), variables={"zone": zone, "long": long}))
    assert adminclient.reload(rig.proxy.runtime_dir) == ()
    for client, server, line in (("127.0.0.2", two, "two 0.0 long"), ("127.0.0.6", one, "one - long")):
        # Not all workers hear of it at once.
        eventually(lambda: ask(rig.proxy.address, client) == server and line in rig.log.read_text(), line)  # noqa: B023
    rig.proxy.log.wait_for("text_too_long", variable="long", bytes=5000)


def test_a_reload_changes_them(rig: Rig, servers: list[SocketAddress]) -> None:
    one, two = map(name_of, servers)
    before, name = keep(rig.proxy.address, "127.0.0.1")
    assert name == one
    zone = Variable(kind="map", source="$remote_addr", values={"127.0.0.1": "two"}, default="one")
    rig.write(msgspec.structs.replace(rig.config, variables={"zone": zone}))
    assert adminclient.reload(rig.proxy.runtime_dir) == ()
    eventually(lambda: ask(rig.proxy.address, "127.0.0.1") == two, "the new variable counts")
    assert ask(rig.proxy.address, "127.0.0.2") == one
    leave(before)
    eventually(lambda: "127.0.0.1 ONE ONE ONE+" in rig.log.read_text(), "what it was then is kept")


def test_sessions_keep_theirs_through_an_upgrade(rig: Rig, servers: list[SocketAddress]) -> None:
    """Also where the new configuration has no such variables any more."""
    before, _ = keep(rig.proxy.address, "127.0.0.2")
    other = AccessLog(file=f"{rig.log}.2", format="$pid")
    listener = msgspec.structs.replace(rig.config.listeners[0], pool="one", assignments=(), access_logs=(other,))
    rig.write(msgspec.structs.replace(rig.config, listeners=(listener,), variables={}))
    rig.proxy.upgrade()
    assert ask(rig.proxy.address, "127.0.0.2") == name_of(servers[0])
    leave(before)
    assert rig.lines(1) == [["127.0.0.2", "two", "two", "two+"]]
