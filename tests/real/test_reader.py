"""The configuration is read anew by a process of its own, which may be root where control is nobody, and may fail."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest
import trustme

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.model.config import Config, Process
from kubelb.config.model.logs import AccessLog
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address
from kubelb.snapshot import SocketAddress
from kubelb.wire.message_sets import encode
from kubelb.wire.messages import ReadAnew
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave
from tests.support.program import OURS, a_program
from tests.support.proxy import Proxy, a_config, echoes, gone, refuses, reserved, running
from tests.support.takeover import USER, channel_of, say
from tests.support.users import open_to_all

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def a_rooted_proxy(directory: Path, servers: IdentityServers) -> Iterator[tuple[Proxy, Config]]:
    """Its children are the user's, and so are neither its file nor its directory."""
    open_to_all(directory)
    with reserved() as listen:
        config = a_config(listen, servers.addresses, workers=1, process=Process(user=USER))
        with running(directory, config=config) as proxy:
            yield proxy, config


def with_log(config: Config, log: Path) -> Config:
    (listener,) = config.listeners
    listener = msgspec.structs.replace(listener, access_logs=(AccessLog(file=str(log)),))
    return msgspec.structs.replace(config, listeners=(listener,))


# What root alone may do.


@pytest.mark.usefixtures("root")
def test_what_only_root_may_read_and_make_takes_effect(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rooted_proxy(tmp_path, servers) as (proxy, config):
        file, log = tmp_path / "kubelb.toml", tmp_path / "access.log"
        file.chmod(0o600)
        file.write_text(write_toml(with_log(config, log)))
        assert adminclient.reload(proxy.runtime_dir) == ()
        assert log.owner() == USER
        assert ask(proxy.address)
        eventually(log.read_text, "it is written")


@pytest.mark.usefixtures("root")
def test_what_the_user_may_not_use_is_refused(tmp_path: Path, servers: IdentityServers) -> None:
    """As ``kubelb check`` has it, and nothing has changed."""
    with a_rooted_proxy(tmp_path, servers) as (proxy, config):
        ca = tmp_path / "ca.crt"
        trustme.CA().cert_pem.write_to_path(str(ca))
        ca.chmod(0o600)
        text = write_toml(config).replace('probe = "off"', f'probe = "https"\nca_file = "{ca}"')
        (tmp_path / "kubelb.toml").write_text(text)
        with pytest.raises(AdminFault, match=f'"{ca}" cannot be read: permission denied as {USER}'):
            adminclient.reload(proxy.runtime_dir)
        assert ask(proxy.address)


# A reader that fails.

WAITING = """\
import os, time
import kubelb.deadlines
from kubelb.supervisor import reader
kubelb.deadlines.USUAL = kubelb.deadlines.Deadlines(read={patience})
read = reader.read

def wait(*arguments):
    while os.path.exists({file!r}):
        time.sleep(0.01)
    return read(*arguments)

reader.read = wait
"""
LONG = 3600.0


class Rig:
    """A proxy whose reader waits until it is let go; what it reads has another address."""

    def __init__(self, proxy: Proxy, more: SocketAddress, gate: Path) -> None:
        self.proxy = proxy
        self.more = more
        self._gate = gate

    def reader(self) -> psutil.Process:
        """The child that has come since."""
        before = {child.pid for child in self.proxy.children()}
        self.proxy.supervisor.send_signal(signal.SIGHUP)

        def found() -> psutil.Process | None:
            return next((child for child in self.proxy.children() if child.pid not in before), None)

        return eventually(found, "somebody reads")

    def let_go(self) -> None:
        self._gate.unlink()


@contextmanager
def a_rig(directory: Path, servers: IdentityServers, patience: float = LONG) -> Iterator[Rig]:
    gate, file = directory / "gate", directory / "kubelb.toml"
    gate.touch()
    code = WAITING.format(file=str(gate), patience=patience) + OURS
    with reserved() as more, a_program(directory, servers.addresses, code) as (proxy, _):
        address = Address(*proxy.address)
        listen = f'["{address}"]', f'["{address}", "{Address(*more)}"]'
        text = file.read_text()
        assert listen[0] in text
        file.write_text(text.replace(*listen))
        yield Rig(proxy, more, gate)


def failure(proxy: Proxy) -> str:
    (line,) = proxy.log.wait_for("reload_failed")
    return str(line["fault"])


def test_nobody_waits_for_it(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers) as rig:
        reader, proxy = rig.reader(), rig.proxy
        victim = proxy.workers()[0]
        victim.kill()
        proxy.log.wait_for("child_died", pid=victim.pid)
        eventually(lambda: len(proxy.workers()) == 2, "it is replaced")
        assert proxy.status().snapshot == 1
        assert ask(proxy.address)
        assert refuses(rig.more)
        rig.let_go()
        proxy.log.wait_for("reloaded")
        assert ask(rig.more)
        eventually(lambda: gone(reader), "it has ended")


def test_one_that_takes_too_long_is_given_up(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers, patience=1.0) as rig:
        reader = rig.reader()
        assert "takes too long" in failure(rig.proxy)
        eventually(lambda: gone(reader), "it has been ended")
        assert refuses(rig.more)
        rig.let_go()
        adminclient.reload(rig.proxy.runtime_dir)
        assert ask(rig.more)


def test_one_that_dies_is_a_fault(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers) as rig:
        rig.reader().kill()
        assert "the reader has died, SIGKILL" in failure(rig.proxy)
        assert not rig.proxy.log.events("child_died")
        rig.let_go()
        adminclient.reload(rig.proxy.runtime_dir)
        assert ask(rig.more)


def test_one_that_nobody_has_a_use_for_any_more_is_ended(tmp_path: Path, servers: IdentityServers) -> None:
    """The control process that has asked for it has died."""
    with a_rig(tmp_path, servers) as rig:
        reader = rig.reader()
        rig.proxy.control().kill()
        rig.proxy.log.wait_for("child_died", child="control")
        eventually(lambda: gone(reader), "it has been ended")
        assert refuses(rig.more)
        rig.let_go()
        eventually(rig.proxy.answer, "another control answers")
        adminclient.reload(rig.proxy.runtime_dir)
        assert ask(rig.more)


def test_a_stop_does_not_wait_for_it(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers) as rig:
        reader = rig.reader()
        assert rig.proxy.end() == 0
        assert gone(reader)


def test_it_ends_by_itself_where_nobody_is_left(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers, patience=5.0) as rig:
        reader = rig.reader()
        rig.proxy.supervisor.kill()
        eventually(lambda: gone(reader), "it has ended")


def test_what_is_read_while_the_proxy_drains_is_listened_on_nowhere(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers) as rig:
        client, _ = keep(rig.proxy.address)
        rig.proxy.supervisor.send_signal(signal.SIGQUIT)
        rig.proxy.log.wait_for("stopping")
        rig.reader()
        rig.let_go()
        rig.proxy.log.wait_for("reloaded")
        assert refuses(rig.more)
        assert echoes(client)
        leave(client)
        assert rig.proxy.wait() == 0


@pytest.mark.usefixtures("root")
def test_control_cannot_have_two_at_once(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers) as rig:
        reader, control = rig.reader(), rig.proxy.control()
        with channel_of(control.pid) as channel:
            say(channel, encode(ReadAnew(99)))
        (line,) = rig.proxy.log.wait_for("child_misbehaved")
        assert line["pid"] == control.pid
        eventually(lambda: gone(reader), "it has been ended")
        rig.let_go()


def test_an_address_that_is_taken_changes_nothing(tmp_path: Path, servers: IdentityServers) -> None:
    with a_rig(tmp_path, servers) as rig, socket.create_server(rig.more):
        rig.let_go()
        with pytest.raises(AdminFault, match="address already in use"):
            adminclient.reload(rig.proxy.runtime_dir)
        assert rig.proxy.status().snapshot == 1
