"""One supervisor in another's place: what lives on, and what becomes of an upgrade that fails."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.cli.upgrade import upgrade
from kubelb.config.model.pools import Health
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Duration
from kubelb.control.commands import Drain
from kubelb.deadlines import Deadlines
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.holes import a_hole
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.program import OURS, STANDING, a_program, impatient
from tests.support.proxy import (
    KUBELB,
    EchoServers,
    Proxy,
    a_config,
    a_proxy,
    echoes,
    gone,
    reserved,
    running,
    started,
    suspended,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as echo_servers:
        yield echo_servers.addresses


@contextmanager
def sessions(proxy: Proxy, count: int = 6) -> Iterator[list[socket.socket]]:
    """So many through it, which are alive at the end."""
    with ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(count)]
        yield clients
        assert all(map(echoes, clients))
        for client in clients:
            leave(client)


def test_sessions_and_counters_live_on(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers) as proxy:
        first = proxy.process
        with sessions(proxy) as clients:
            others = {proxy.pid, *(child.pid for child in proxy.children())}
            before = proxy.status()
            for _ in range(3):
                new = proxy.upgrade()
                assert new not in others
                assert proxy.pid == new
                assert {child.pid for child in proxy.children()}.isdisjoint(others)
                assert all(map(echoes, clients))
                others |= {new, *(child.pid for child in proxy.children())}
            assert first.wait(60) == 0
            after = proxy.status()
            assert after.pid == new
            assert after.clients == before.clients
            assert [(one.active, one.opened) for one in after.pools[0].servers] == [(3, 3), (3, 3)]
        eventually(lambda: proxy.status().clients.active == 0, "all have left")
        echoed = 4 * len(b"are you there?")
        assert [(one.active, one.opened, one.bytes_up, one.bytes_down) for one in proxy.servers()] == [
            (0, 3, 3 * echoed, 3 * (echoed + len(f"{name_of(server)}\n"))) for server in servers
        ]
        assert len(proxy.log.events("upgraded")) == 3
        assert not proxy.log.events("child_died")


def test_what_is_known_of_servers_lives_on(tmp_path: Path) -> None:
    """Since when each is as it is; nobody is logged as newly up."""
    with IdentityServers(["127.0.0.1"] * 2) as going, ExitStack() as stack, reserved() as listen:
        leaving = IdentityServers(["127.0.0.3"])
        config = a_config(listen, [*going.addresses, *leaving.addresses])
        often = Health(probe="tcp", interval=Duration(0.05))
        pool = msgspec.structs.replace(config.pools["pool"], health=often)
        with leaving:
            proxy = stack.enter_context(
                running(tmp_path, config=msgspec.structs.replace(config, pools={"pool": pool}))
            )
            eventually(lambda: {server.state for server in proxy.servers()} == {"up"}, "all are up")
        eventually(lambda: proxy.servers()[2].state == "down", "one has gone")
        before, said = known(proxy), news(proxy)
        proxy.upgrade()
        upgraded = time.time()
        eventually(lambda: all(server.probe and server.probe.at > upgraded for server in proxy.servers()), "probed")
        assert known(proxy) == before
        assert news(proxy) == said


def known(proxy: Proxy) -> list[tuple[str, str, float]]:
    """Of each server its state, what it rests on, and since when, to the tenth of a second."""
    return [(server.state, server.finding, round(server.since, 1)) for server in proxy.servers()]


def news(proxy: Proxy) -> list[int]:
    return [len(proxy.log.events(f"server_{state}")) for state in ("up", "down", "suspect", "draining")]


def test_by_signal_too(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers) as proxy, sessions(proxy):
        old = proxy.supervisor
        old.send_signal(signal.SIGUSR2)
        proxy.log.wait_for("upgraded")
        eventually(lambda: gone(old), "the old one has gone")
        assert proxy.status().pid == proxy.pid != old.pid


def test_all_settings_may_have_changed(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        listen, more = stack.enter_context(reserved()), stack.enter_context(reserved())
        proxy = stack.enter_context(running(tmp_path, config=a_config(listen, servers)))
        with sessions(proxy) as clients:
            adminclient.command(proxy.runtime_dir, Drain(name_of(servers[0])))
            text = write_toml(a_config(more, servers[:1], workers=1, threads=3))
            (tmp_path / "kubelb.toml").write_text(text)
            proxy.upgrade()
            (said,) = proxy.log.wait_for("started", pid=proxy.pid)
            assert said["listeners"] == [name_of(more)]
            assert len(proxy.workers()) == 1
            assert all(map(echoes, clients)), "those on the server that is no member any more too"
            kept, removed = proxy.servers()
            assert (kept.name, kept.drained, kept.active) == (name_of(servers[0]), True, 3)
            assert (removed.state, removed.active) == ("draining", 3)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(listen, timeout=30)


def test_one_who_waits_for_a_server_is_served(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """A dial is finished where it was begun, and its session follows the others."""
    with a_hole() as hole, a_proxy(tmp_path, [hole.address], connect_timeout=60) as proxy:
        client = socket.create_connection(proxy.address, timeout=60)
        with client:
            eventually(lambda: proxy.servers()[0].active == 1, "the dial is under way")
            old = proxy.supervisor
            old.send_signal(signal.SIGUSR2)
            proxy.log.wait_for("started", count=2)
            with hole.open() as server:
                proxy.log.wait_for("upgraded")
                eventually(lambda: gone(old), "the old one has gone")
                client.sendall(b"x")
                assert server.recv(1) == b"x"


def test_a_file_that_will_not_do_changes_nothing(
    tmp_path: Path, servers: list[SocketAddress], capsys: pytest.CaptureFixture[str]
) -> None:
    with a_proxy(tmp_path, servers) as proxy, sessions(proxy):
        file = tmp_path / "kubelb.toml"
        text, before = file.read_text(), proxy.children()
        file.write_text(text.replace("[pool.pool]", "[pool.pool]\nbalanse = 1"))
        assert upgrade(proxy.runtime_dir) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{file}:")
        assert "unknown key" in line
        (failed,) = proxy.log.wait_for("upgrade_failed")
        assert failed["fault"] == line
        assert proxy.children() == before
        file.write_text(text)
        assert adminclient.reload(proxy.runtime_dir) == ()
        proxy.upgrade()


def test_an_address_that_cannot_be_had_changes_nothing(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers) as proxy, sessions(proxy):
        before = proxy.children()
        file = tmp_path / "kubelb.toml"
        file.write_text(file.read_text().replace('listen = ["', 'listen = ["192.0.2.1:9", "'))
        with pytest.raises(AdminFault, match=r"cannot listen on 192\.0\.2\.1:9"):
            adminclient.upgrade(proxy.runtime_dir)
        assert proxy.children() == before
        assert ask(proxy.address)


def test_another_runtime_dir_is_refused(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with reserved() as listen:
        file, runtime_dir = tmp_path / "kubelb.toml", tmp_path / "run"
        file.write_text(write_toml(a_config(listen, servers, runtime_dir=str(runtime_dir))))
        with started([str(KUBELB), "run", "--config", str(file)], runtime_dir) as proxy, sessions(proxy):
            file.write_text(write_toml(a_config(listen, servers, runtime_dir=str(tmp_path / "other"))))
            with pytest.raises(AdminFault, match="runtime_dir changes by a restart only"):
                adminclient.upgrade(runtime_dir)
            assert not (tmp_path / "other").exists()


def begun(proxy: Proxy, program: Path) -> psutil.Process:
    """An upgrade is under way; the new supervisor, which stands still before it has done anything."""
    program.write_text(STANDING)
    proxy.supervisor.send_signal(signal.SIGUSR2)
    return proxy.standing()


def test_a_new_one_that_dies_on_its_way_changes_nothing(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_program(tmp_path, servers) as (proxy, program), sessions(proxy):
        before, old = proxy.children(), proxy.supervisor
        begun(proxy, program).kill()
        proxy.log.wait_for("upgrade_failed")
        assert proxy.children() == before
        assert ask(proxy.address)
        program.write_text(OURS)
        assert proxy.upgrade() != old.pid


def test_a_new_one_that_dies_while_it_takes_over_leaves_the_sessions(
    tmp_path: Path, servers: list[SocketAddress]
) -> None:
    with a_proxy(tmp_path, servers) as proxy, sessions(proxy) as clients:
        old, workers = proxy.supervisor, proxy.workers()
        with suspended(workers):
            old.send_signal(signal.SIGUSR2)
            proxy.log.wait_for("started", count=2)
            new = proxy.supervisor
            assert new.pid != old.pid
            family = [new, *new.children()]
            for process in family:
                process.kill()
            proxy.log.wait_for("upgrade_failed")
            assert proxy.supervisor == old
        assert all(map(echoes, clients))
        eventually(lambda: len(set(proxy.workers()) - set(workers)) == 2, "there are workers that accept again")
        eventually(lambda: not set(proxy.workers()) & set(workers), "which have the sessions of those before")
        assert all(map(echoes, clients))
        assert ask(proxy.address)
        assert proxy.upgrade() != old.pid


def test_while_one_is_under_way_nothing_else_is_changed(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_program(tmp_path, servers) as (proxy, program), sessions(proxy):
        old, new = proxy.supervisor, begun(proxy, program)
        eventually(lambda: _refused(proxy), "control knows")
        with pytest.raises(AdminFault, match="an upgrade is under way"):
            adminclient.reload(proxy.runtime_dir)
        with pytest.raises(AdminFault, match="an upgrade is under way already"):
            adminclient.upgrade(proxy.runtime_dir)
        old.send_signal(signal.SIGHUP)
        proxy.log.wait_for("reload_failed")
        old.send_signal(signal.SIGUSR2)
        proxy.log.wait_for("upgrade_failed", fault="one is under way")
        new.resume()
        proxy.log.wait_for("upgraded")
        assert proxy.pid == new.pid


def _refused(proxy: Proxy) -> bool:
    try:
        adminclient.command(proxy.runtime_dir, Drain(proxy.servers()[0].name))
    except AdminFault as fault:
        return "an upgrade is under way" in str(fault)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fast_stop_on_the_way_stops_both(
    tmp_path: Path, servers: list[SocketAddress], number: signal.Signals
) -> None:
    with a_program(tmp_path, servers) as (proxy, program), keep(proxy.address)[0]:
        old, new = proxy.supervisor, begun(proxy, program)
        old.send_signal(number)
        eventually(lambda: gone(old), "the old one has gone")
        new.resume()
        eventually(lambda: gone(new), "the new one has gone")
        assert proxy.wait() == 0
        assert not list(proxy.runtime_dir.iterdir())


def test_a_graceful_stop_of_the_old_leaves_the_new(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """As with nginx: QUIT is how its old master is told to go."""
    with a_program(tmp_path, servers) as (proxy, program), sessions(proxy):
        old, new = proxy.supervisor, begun(proxy, program)
        old.send_signal(signal.SIGQUIT)
        new.resume()
        eventually(lambda: gone(old), "the old one has gone")
        assert proxy.pid == new.pid
        assert ask(proxy.address)


def test_a_graceful_stop_counts_if_there_is_no_new_one(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_program(tmp_path, servers) as (proxy, program), keep(proxy.address)[0] as client:
        old, new = proxy.supervisor, begun(proxy, program)
        old.send_signal(signal.SIGQUIT)
        new.kill()
        proxy.log.wait_for("stopping", how="draining")
        assert echoes(client)
        leave(client)
        assert proxy.wait() == 0


def test_one_that_loses_the_old_on_the_way_serves(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """The old supervisor is killed: its workers keep their sessions, the new one has the sockets."""
    with a_proxy(tmp_path, servers) as proxy, keep(proxy.address)[0] as client:
        old, workers = proxy.supervisor, proxy.workers()
        with suspended(workers):
            old.send_signal(signal.SIGUSR2)
            proxy.log.wait_for("started", count=2)
            old.kill()
            eventually(lambda: gone(old), "it has gone")
            assert ask(proxy.address)
        assert echoes(client)
        leave(client)
        eventually(lambda: all(map(gone, workers)), "they have nothing to do any more")
        assert proxy.end() == -signal.SIGKILL, "that is how the first one ended"


@pytest.mark.usefixtures("root")
def test_the_first_process_of_a_container_stays_as_long_as_anybody_serves(
    tmp_path: Path, servers: list[SocketAddress]
) -> None:
    with reserved() as listen:
        runtime_dir, file = tmp_path / "run", tmp_path / "kubelb.toml"
        file.write_text(write_toml(a_config(listen, servers)))
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        command += [str(KUBELB), "run", "--runtime-dir", str(runtime_dir), "--config", str(file)]
        container = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: _pid(runtime_dir) == 1, "it serves")
            (first,) = eventually(lambda: psutil.Process(container.pid).children(), "it has a first process")
            client = eventually(lambda: _connected(listen), "it accepts")
            pids = [1, *(adminclient.upgrade(runtime_dir) for _ in range(2))]
            assert len(set(pids)) == 3
            assert _pid(runtime_dir) == pids[-1]
            assert echoes(client)
            first.send_signal(signal.SIGHUP)
            leave(client)
            first.send_signal(signal.SIGTERM)
            assert container.wait(60) == 0
            assert not list(runtime_dir.iterdir())
        finally:
            container.kill()
            container.wait()


def _pid(runtime_dir: Path) -> int:
    try:
        return int((runtime_dir / "kubelb.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _connected(listen: SocketAddress) -> socket.socket | None:
    try:
        return keep(listen)[0]
    except ConnectionRefusedError:
        return None


def test_a_worker_that_does_not_give_its_sessions_is_named(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with (
        reserved() as listen,
        impatient(tmp_path, a_config(listen, servers), Deadlines(hand_over=0.1)) as proxy,
        sessions(proxy),
    ):
        old, workers = proxy.supervisor, proxy.workers()
        with suspended(workers):
            old.send_signal(signal.SIGUSR2)
            (slow,) = proxy.log.wait_for("handing_over_is_slow")
            assert slow["workers"] == [worker.pid for worker in workers]
            assert ask(proxy.address), "clients are served by the new one meanwhile"
        proxy.log.wait_for("upgraded")
