"""The running proxy goes by its configuration as it now is, through the whole program."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.reload import reload
from kubelb.config.model.config import Config
from kubelb.config.model.pools import PASSIVE, Health, Server
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.control.commands import Drain, Undrain
from kubelb.deadlines import USUAL, Deadlines
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave, name_of
from tests.support.program import impatient
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, gone, reserved, running, suspended

pytestmark = pytest.mark.usefixtures("no_leaks")

PROBED = Health(probe="tcp", interval=Duration(0.05), slow_start=Duration(0))
AT_ONCE = Duration(0.05)
FOR_LONG = Duration(3600)


class Rig:
    """A proxy and the file it goes by."""

    def __init__(self, proxy: Proxy, file: Path, config: Config, servers: list[SocketAddress]) -> None:
        self.proxy = proxy
        self.file = file
        self.config = config
        self.servers = servers

    def write(self, *members: SocketAddress, **settings: object) -> None:
        servers = tuple(Server(address=Address(*address)) for address in members)
        pool = msgspec.structs.replace(self.config.pools["pool"], servers=servers, **settings)
        self.file.write_text(write_toml(msgspec.structs.replace(self.config, pools={"pool": pool})))

    def reload(self) -> None:
        assert adminclient.reload(self.proxy.runtime_dir) == ()

    def names(self) -> list[str]:
        return [server.name for server in self.proxy.servers()]

    def reached(self) -> set[str]:
        return {ask(self.proxy.address) for _ in range(8)}


@contextmanager
def a_rig(
    directory: Path, members: int, health: Health = PROBED, deadlines: Deadlines = USUAL, **settings: Any
) -> Iterator[Rig]:
    """Three servers, of which the first ``members`` are configured."""
    with ExitStack() as stack:
        servers = stack.enter_context(EchoServers(["127.0.0.1"] * 3)).addresses
        listen = stack.enter_context(reserved())
        config = a_config(listen, servers[:members], "round_robin", **settings)
        pool = msgspec.structs.replace(config.pools["pool"], health=health)
        config = msgspec.structs.replace(config, pools={"pool": pool})
        usual = deadlines is USUAL
        a_proxy = running(directory, config=config) if usual else impatient(directory, config, deadlines)
        proxy = stack.enter_context(a_proxy)
        yield Rig(proxy, directory / "kubelb.toml", config, servers)


def test_members_come_and_go(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2) as rig:
        first, second, third = rig.servers
        with keep(rig.proxy.address)[0] as client:
            before = rig.proxy.children()
            rig.write(first, second, third)
            rig.reload()
            eventually(lambda: rig.reached() == {name_of(server) for server in rig.servers}, "the new one is used")
            rig.write(third)
            rig.reload()
            eventually(lambda: rig.reached() == {name_of(third)}, "only the one that is left is used")
            eventually(lambda: len(rig.names()) == 2, "all have left but the one with a session")
            assert echoes(client)
            assert rig.proxy.children() == before
            leave(client)
        eventually(lambda: rig.names() == [name_of(third)], "it has left with its last session")


def test_all_workers_go_by_it_once_it_is_answered(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1, PASSIVE, workers=4) as rig:
        for round_ in range(1, 41):
            server = rig.servers[round_ % 3]
            rig.write(server)
            rig.reload()
            assert rig.reached() == {name_of(server)}


def test_no_worker_uses_a_server_once_it_is_drained(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2, PASSIVE, workers=4) as rig:
        for round_ in range(1, 41):
            server = name_of(rig.servers[round_ % 2])
            assert adminclient.command(rig.proxy.runtime_dir, Drain(server)).warnings == ()
            assert server not in rig.reached()
            assert adminclient.command(rig.proxy.runtime_dir, Undrain(server)).warnings == ()
            eventually(lambda: server in rig.reached(), "it is used again")  # noqa: B023


def test_a_worker_that_does_not_hear_is_named(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2, PASSIVE, Deadlines(follow=1.0)) as rig:
        worker = rig.proxy.workers()[1]
        rig.write(rig.servers[2])
        with suspended([worker]):
            behind = f"worker-1 (pid {worker.pid}) has not heard of it yet"
            assert adminclient.reload(rig.proxy.runtime_dir) == (behind,)
            rig.proxy.log.wait_for("worker_behind", reason=behind)
            drained = adminclient.command(rig.proxy.runtime_dir, Drain(name_of(rig.servers[2])))
            assert behind in drained.warnings
        rig.write(*rig.servers)
        rig.reload()


def test_sessions_of_one_that_has_left_have_their_time(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1) as rig:
        second = rig.servers[1]
        client, _ = keep(rig.proxy.address)
        with client:
            rig.write(second, drain_timeout=FOR_LONG)
            rig.reload()
            assert [(server.state, server.reason) for server in rig.proxy.servers()][1] == (
                "draining",
                "it is no member any more",
            )
            assert echoes(client)
            rig.write(second, drain_timeout=AT_ONCE)
            rig.reload()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        eventually(lambda: rig.names() == [name_of(second)], "it has left")


def test_by_signal_and_into_the_log(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1) as rig:
        rig.write(*rig.servers)
        rig.proxy.process.send_signal(signal.SIGHUP)
        rig.proxy.log.wait_for("reloaded")
        assert len(rig.names()) == 3
        rig.file.write_text("nonsense")
        rig.proxy.process.send_signal(signal.SIGHUP)
        (failed,) = rig.proxy.log.wait_for("reload_failed")
        assert failed["fault"].startswith(f"{rig.file}:1: not TOML")
        assert len(rig.names()) == 3


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("[pool.pool]", "[pool.pool]\nbalanse = 1"), "unknown key"),
        (("workers = 2", "workers = 2\nthreads = 2"), "threads: this cannot change by a reload; kubelb upgrade goes"),
        (
            ("[pool.pool]", '[admin]\nlisten = "127.0.0.1:9"\n[pool.pool]'),
            "admin.listen: this cannot change by a reload",
        ),
        (
            ('listen = ["', 'listen = ["192.0.2.1:9", "'),
            "cannot listen on 192.0.2.1:9: cannot assign requested address",
        ),
    ],
)
def test_what_will_not_do_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], fault: str
) -> None:
    with a_rig(tmp_path, 2) as rig, keep(rig.proxy.address)[0] as client:
        eventually(lambda: {server.state for server in rig.proxy.servers()} == {"up"}, "the first probes are over")
        before = rig.proxy.status().snapshot
        text = rig.file.read_text()
        assert change[0] in text
        rig.file.write_text(text.replace(*change))
        assert reload(rig.proxy.runtime_dir) == 1
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert fault in line
        assert rig.proxy.status().snapshot == before
        assert echoes(client)
        leave(client)


def test_states_and_the_operators_word_outlive_it(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2) as rig:
        eventually(lambda: {server.state for server in rig.proxy.servers()} == {"up"}, "both are up")
        since = rig.proxy.servers()[1].since
        adminclient.command(rig.proxy.runtime_dir, Drain(name_of(rig.servers[0])))
        rig.write(*rig.servers)
        rig.reload()
        drained, up = rig.proxy.servers()[:2]
        assert (drained.state, drained.drained) == ("draining", True)
        assert up.state == "up"
        assert up.since == pytest.approx(since, abs=0.01)
        eventually(lambda: rig.proxy.servers()[2].state == "up", "the new one is probed")
        assert rig.reached() == {name_of(server) for server in rig.servers[1:]}


def test_probes_are_turned_off_and_on(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1) as rig:
        eventually(lambda: rig.proxy.servers()[0].state == "up", "it is probed")
        rig.write(rig.servers[0], health=Health(probe="off"))
        rig.reload()
        assert rig.proxy.servers()[0].state == "unknown"
        rig.write(rig.servers[0], health=PROBED)
        rig.reload()
        eventually(lambda: rig.proxy.servers()[0].state == "up", "it is probed again")


def test_a_new_control_process_goes_by_it_too(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1) as rig:
        rig.write(*rig.servers, drain_timeout=AT_ONCE)
        rig.reload()
        client, name = keep(rig.proxy.address)
        rig.proxy.control().kill()
        eventually(lambda: len(rig.proxy.log.events("child_died")) == 1, "control has died")
        eventually(lambda: is_answering(rig.proxy), "another one answers")
        assert len(rig.names()) == 3
        rig.write(*(server for server in rig.servers if name_of(server) != name))
        rig.reload()
        assert echoes(client)
        leave(client)
        eventually(lambda: len(rig.names()) == 2, "it has left")


def test_what_a_control_process_said_before_it_died_counts(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2, PASSIVE, Deadlines(follow=0.1)) as rig:
        with suspended([rig.proxy.supervisor]):
            reply = adminclient.command(rig.proxy.runtime_dir, Drain(name_of(rig.servers[0])))
            assert len(reply.warnings) == 2, "neither worker has heard of it"
            control = rig.proxy.control()
            control.kill()
            eventually(lambda: gone(control), "it has died before anything is heard")
        rig.proxy.log.wait_for("child_died")
        eventually(lambda: is_answering(rig.proxy), "another one answers")
        assert [server.drained for server in rig.proxy.servers()] == [True, False]
        assert rig.reached() == {name_of(rig.servers[1])}


def test_a_pool_that_is_leaving_when_control_dies(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1) as rig:
        client, name = keep(rig.proxy.address)
        other = rig.file.read_text().replace("pool.pool", "pool.other").replace('"pool"', '"other"')
        rig.file.write_text(other.replace(name, name_of(rig.servers[1])))
        rig.reload()
        assert [pool.name for pool in rig.proxy.status().pools] == ["other", "pool"]
        rig.proxy.control().kill()
        rig.proxy.log.wait_for("child_died")
        eventually(lambda: is_answering(rig.proxy), "another one answers")
        assert echoes(client)
        assert rig.reached() == {name_of(rig.servers[1])}
        leave(client)
        eventually(lambda: [pool.name for pool in rig.proxy.status().pools] == ["other"], "it has left")


def is_answering(proxy: Proxy) -> bool:
    try:
        return bool(adminclient.status(proxy.runtime_dir))
    except adminclient.AdminFault:
        return False


def test_again_and_again_leaves_nothing_behind(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2) as rig:
        rig.reload()
        before = [(child.pid, child.num_fds(), child.num_threads()) for child in rig.proxy.workers()]
        for count in range(20):
            rig.write(*rig.servers[: 1 + count % 3])
            rig.reload()
        rig.write(*rig.servers[:2])
        rig.reload()
        eventually(lambda: len(rig.names()) == 2, "the rest has left")
        assert [(child.pid, child.num_fds(), child.num_threads()) for child in rig.proxy.workers()] == before


def test_the_count_of_a_reused_slot_begins_at_nothing(tmp_path: Path) -> None:
    with a_rig(tmp_path, 1) as rig:
        first, second, _ = rig.servers
        assert ask(rig.proxy.address) == name_of(first)
        rig.write(second)
        rig.reload()
        eventually(lambda: rig.names() == [name_of(second)], "the first has left")
        assert ask(rig.proxy.address) == name_of(second)
        rig.write(first, second)
        rig.reload()
        # Each worker forgets what was counted there once it hears of the new server.
        eventually(lambda: [server.opened for server in rig.proxy.servers()] == [0, 1], "it begins at nothing")


def test_nothing_there_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reload(tmp_path) == 1
    assert "is kubelb running" in capsys.readouterr().err


def test_listeners_come_and_go(tmp_path: Path) -> None:
    with a_rig(tmp_path, 2) as rig, reserved() as more:
        first = rig.proxy.address
        text = rig.file.read_text()
        address = f"{more[0]}:{more[1]}"
        with keep(first)[0] as old:
            rig.file.write_text(text.replace('listen = ["', f'listen = ["{address}", "'))
            rig.reload()
            with keep(more)[0] as new:
                assert echoes(new)
                rig.file.write_text(text.replace(f"{first[0]}:{first[1]}", address))
                rig.reload()
                eventually(lambda: refuses(first), "the old address is given up")
                assert echoes(old), "its sessions go on"
                assert echoes(new)
                leave(new)
            assert ask(more)
            leave(old)
        rig.file.write_text(text)
        rig.reload()
        eventually(lambda: refuses(more), "and the new one")
        assert ask(first)


def refuses(address: SocketAddress) -> bool:
    try:
        socket.create_connection(address, timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_busy_address_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with a_rig(tmp_path, 2) as rig, socket.create_server(("127.0.0.1", 0)) as busy, reserved() as free:
        text = rig.file.read_text()
        taken = name_of(busy.getsockname())
        rig.file.write_text(text.replace('listen = ["', f'listen = ["{name_of(free)}", "{taken}", "'))
        assert reload(rig.proxy.runtime_dir) == 1
        whose = f"by process {os.getpid()} ("
        assert f"cannot listen on {taken}: address already in use {whose}" in capsys.readouterr().err
        assert refuses(free), "the other one is not listened on either"
        assert ask(rig.proxy.address)


def test_an_address_that_is_given_up_meanwhile_is_listened_on(tmp_path: Path) -> None:
    """By who has it, between two attempts."""
    with a_rig(tmp_path, 1) as rig, ExitStack() as held:
        busy = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = busy.getsockname()
        text = rig.file.read_text()
        rig.file.write_text(text.replace('listen = ["', f'listen = ["{name_of(address)}", "'))
        rig.proxy.process.send_signal(signal.SIGHUP)
        rig.proxy.log.wait_for("address_in_use")
        busy.close()
        rig.proxy.log.wait_for("reloaded")
        assert ask(address)


def test_a_worker_more_or_less_costs_no_session(tmp_path: Path) -> None:
    with a_rig(tmp_path, 3) as rig, ExitStack() as held:
        clients = [held.enter_context(keep(rig.proxy.address)[0]) for _ in range(12)]
        text = rig.file.read_text()
        before = set(rig.proxy.workers())
        for count in (4, 1, 3, 2):
            rig.file.write_text(text.replace("workers = 2", f"workers = {count}"))
            rig.reload()
            eventually(lambda count=count: len(rig.proxy.workers()) == count, "there are so many")  # type: ignore[misc]
            assert all(map(echoes, clients))
            assert rig.proxy.status().clients.active == len(clients)
            clients += [held.enter_context(keep(rig.proxy.address)[0]) for _ in range(2)]
        assert len(before & set(rig.proxy.workers())) == 1
        assert sum(server.active for server in rig.proxy.servers()) == len(clients)
        assert not rig.proxy.log.events("child_died")
        for client in clients:
            leave(client)


def test_there_are_never_more_workers_than_can_be_counted(tmp_path: Path) -> None:
    """Those that leave wait for clients that have not said yet who they are."""
    threads = 32
    with a_rig(tmp_path, 1, PASSIVE, threads=threads) as rig, ExitStack() as held:
        (listener,) = rig.config.listeners
        slow = msgspec.structs.replace(listener, accept_proxy_protocol=True, proxy_protocol_timeout=FOR_LONG)
        text = write_toml(msgspec.structs.replace(rig.config, listeners=(slow,)))
        rig.file.write_text(text)
        rig.reload()
        stays, _ = by_age(rig.proxy)
        for leavers in range(1, 6):
            with suspended([stays]):
                # The kernel may tell each of the threads that stand still of one client before it tells another.
                for _ in range(threads + 1):
                    held.enter_context(socket.create_connection(rig.proxy.address))
                eventually(lambda: has_client(by_age(rig.proxy)[-1]), "the other one has a client")
            for count in (1, 2):
                rig.file.write_text(text.replace("workers = 2", f"workers = {count}"))
                rig.reload()
            there = min(2 + leavers, 6)
            eventually(lambda there=there: len(rig.proxy.workers()) == there, "those that leave are there yet")  # type: ignore[misc]
        assert len(rig.proxy.status().pools) == 1
        held.close()
        eventually(lambda: len(rig.proxy.workers()) == 2, "those that were to go have gone, and the other is there")
        assert not rig.proxy.log.events("child_stuck")


def by_age(proxy: Proxy) -> list[psutil.Process]:
    """The workers, the oldest first."""
    return sorted(proxy.workers(), key=lambda worker: (worker.create_time(), worker.pid))


def has_client(worker: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_ESTABLISHED for one in worker.net_connections("tcp4"))


def test_nothing_is_left_of_many(tmp_path: Path) -> None:
    with a_rig(tmp_path, 3) as rig, keep(rig.proxy.address)[0] as client:
        text = rig.file.read_text()
        more, less = text.replace("workers = 2", "workers = 3"), text.replace("workers = 2", "workers = 1")
        fds = {child.pid: child.num_fds() for child in rig.proxy.workers()}
        for _ in range(5):
            for one in (more, less, text):
                rig.file.write_text(one)
                rig.reload()
        eventually(lambda: len(rig.proxy.children()) == 3, "two workers and control")
        (survivor,) = (child for child in rig.proxy.workers() if child.pid in fds)
        eventually(
            lambda: survivor.num_fds() <= fds[survivor.pid] + 2, "but for the session its descriptors are as before"
        )
        assert echoes(client)
        leave(client)


def test_one_that_fails_late_listens_nowhere_else(tmp_path: Path) -> None:
    """Who connected there would be held for ever."""

    def members(network: int) -> list[SocketAddress]:
        return [(f"127.0.{network}.{host}", 1) for host in range(1, 201)]

    with reserved() as listen, reserved() as more, running(tmp_path, config=a_config(listen, members(1))) as proxy:
        config = a_config(listen, members(2))
        listener = msgspec.structs.replace(config.listeners[0], listen=(Address(*listen), Address(*more)))
        config = msgspec.structs.replace(config, listeners=(listener,))
        (tmp_path / "kubelb.toml").write_text(write_toml(config))
        with pytest.raises(adminclient.AdminFault, match="too many servers"):
            adminclient.reload(proxy.runtime_dir)
        eventually(lambda: refuses(more), "it is not listened there")
