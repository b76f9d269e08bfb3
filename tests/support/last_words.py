"""A kubelb one of whose processes is killed in the midst of what it does: once, by itself, and so never too late."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.model.config import Config
from kubelb.config.model.logs import Log, LogTarget
from kubelb.config.model.pools import PASSIVE, Health, Pool, Rebalance, Server
from kubelb.config.toml.reader import read_toml
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.control.commands import Drain, Undrain
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import ask, name_of
from tests.support.program import OURS, a_program
from tests.support.proxy import EchoServers, Proxy, gone, refuses, reserved

PROBED = Health(probe="tcp", interval=Duration(0.05), slow_start=Duration(0))
_AT_ONCE = Rebalance(every=Duration(0.05), quiet=Duration(0))
_CODE = """\
import os, signal
from kubelb.wire import message_sets
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Reloading

send, receive, counted = Channel._send, Channel.receive_with_fds, []


def springs(channel, message):
    if channel._takes is not message_sets.{takes} or type(message).__name__ not in {words}:
        return False
    if os.path.exists({armed!r}):
        counted.append(message)
        if len(counted) == {count}:
            try:
                os.unlink({armed!r})
            except FileNotFoundError:
                return False
            return True
    return False


def said(channel, message, fds, flags):
    if not springs(channel, message):
        return send(channel, message, fds, flags)
    for _ in range({others}):
        send(channel, Reloading(under_way=True), (), flags)
    send(channel, message, fds, flags)
    os.kill(os.getpid(), signal.SIGKILL)


def heard(channel):
    message, fds = receive(channel)
    if springs(channel, message):
        os.kill(os.getpid(), signal.SIGKILL)
    return message, fds


{patched}
"""


class Trap:
    """Kills whoever says, or hears, the ``count``-th of these messages, from when it is armed."""

    def __init__(
        self,
        directory: Path,
        takes: str,
        words: Sequence[type[msgspec.Struct]],
        count: int = 1,
        *,
        heard: bool = False,
        others: int = 0,
    ) -> None:
        """``takes`` is the set of messages, one of :mod:`kubelb.wire.message_sets`, that the victim takes. So many
        ``others`` it says before that one, which control alone can."""
        self._armed = directory / "armed"
        code = _CODE.format(
            takes=takes,
            words=tuple(word.__name__ for word in words),
            armed=str(self._armed),
            count=count,
            others=others,
            patched="Channel.receive_with_fds = heard" if heard else "Channel._send = said",
        )
        self.code = code + OURS
        """The text of the program."""

    def arm(self) -> None:
        self._armed.touch()

    @property
    def has_sprung(self) -> bool:
        return not self._armed.exists()


class Rig:
    """A proxy one of whose children is about to be killed."""

    def __init__(self, proxy: Proxy, program: Path, trap: Trap, servers: list[SocketAddress], more: SocketAddress):
        self.proxy = proxy
        self.program = program
        self.trap = trap
        self.servers = servers
        self.more = more
        """An address that nobody listens on."""
        self._file = proxy.runtime_dir.parent / "kubelb.toml"

    def config(self) -> Config:
        return read_toml(str(self._file)).config

    def write(
        self, *servers: Server, name: str = "pool", more: bool = False, workers: int = 2, **settings: object
    ) -> None:
        """A file with one pool of these, that are not probed; ``more``: also at the other address."""
        config = self.config()
        listen = (Address(*self.proxy.address), *([Address(*self.more)] if more else []))
        listener = msgspec.structs.replace(config.listeners[0], listen=listen, pool=name)
        pool = msgspec.structs.replace(Pool(servers=servers, health=PASSIVE), **settings)
        config = msgspec.structs.replace(config, workers=workers, listeners=(listener,), pools={name: pool})
        self._file.write_text(write_toml(config))

    def members(self) -> list[Server]:
        return [Server(address=Address(*address)) for address in self.servers]

    def reload(self) -> None:
        assert adminclient.reload(self.proxy.runtime_dir) == ()

    def drain(self, server: SocketAddress) -> None:
        adminclient.command(self.proxy.runtime_dir, Drain(name_of(server)))

    def undrain(self, server: SocketAddress) -> None:
        adminclient.command(self.proxy.runtime_dir, Undrain(name_of(server)))

    def wait_all_up(self) -> None:
        eventually(lambda: {server.state for server in self.proxy.servers()} == {"up"}, "all are up")

    def drain_the_better(self) -> None:
        """From now on the first server is better than the second, and drained: sessions go back to it once it is
        not drained any more."""
        first, second = self.members()
        better = msgspec.structs.replace(first, tier=0), msgspec.structs.replace(second, tier=1)
        self.write(*better, health=PROBED, rebalance=_AT_ONCE)
        self.reload()
        self.wait_all_up()
        self.drain(self.servers[0])

    def lose_control(self, deed: Callable[[], object]) -> None:
        """Control dies of the deed before it answers, and another one is in its place."""
        fails(deed)
        eventually(self.proxy.answer, "another control answers")

    def lose_an_address(self) -> None:
        """Control dies while it is about to listen at one address more, where nobody listens then."""
        self.write(*self.members(), more=True)
        self.lose_control(self.reload)
        eventually(lambda: refuses(self.more), "it is not listened there any more")

    def lose_a_refusal(self) -> None:
        """Control dies while it is about to tell what is wrong with a file."""
        self.write(*self.members(), *self.members(), more=True)
        self.lose_control(self.reload)
        assert refuses(self.more)
        self.write(*self.members())

    def be_succeeded(self, upgrade: Callable[[], object]) -> None:
        """Another supervisor takes its place."""
        self.program.write_text(OURS)
        old = self.proxy.supervisor
        upgrade()
        eventually(lambda: gone(old), "another supervisor is in its place")
        assert self.proxy.pid != old.pid

    def all_answer(self) -> bool:
        """Whether all workers tell which sessions they have; one that has just begun may not be that far."""
        return adminclient.sessions(self.proxy.runtime_dir).unanswered == ()

    def reached(self) -> set[str]:
        return {ask(self.proxy.address) for _ in range(8)}

    def have_a_session_wait(self) -> None:
        """For a server whose kernel accepts and acknowledges, and which does not answer."""
        members = self.members()
        with socket.create_server(("127.0.0.1", 0)) as mute:
            self.write(Server(address=Address(*mute.getsockname())))
            self.reload()
            with socket.create_connection(self.proxy.address, 30) as client:
                client.sendall(b"?")
                eventually(lambda: self.trap.has_sprung, "that has been said or heard")
        self.write(*members)


@contextmanager
def a_rig(directory: Path, takes: str, *words: type[msgspec.Struct], count: int = 1, **options: Any) -> Iterator[Rig]:
    """One whose child dies of such a word; ``options`` as :class:`Trap` takes them."""
    with ExitStack() as stack:
        servers = stack.enter_context(EchoServers(["127.0.0.1"] * 2)).addresses
        trap = Trap(directory, takes, words, count, **options)
        log = Log(also=(LogTarget(file=str(directory / "log")),))
        proxy, program = stack.enter_context(a_program(directory, servers, trap.code, log=log))
        rig = Rig(proxy, program, trap, servers, stack.enter_context(reserved()))
        yield rig
        assert trap.has_sprung
        assert not proxy.log.events("child_misbehaved")


def fails(deed: Callable[[], object]) -> None:
    """The one who is asked dies before it answers."""
    with pytest.raises(AdminFault):
        deed()
