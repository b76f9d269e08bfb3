"""Upgrades under bad conditions: whatever goes wrong, somebody serves, no session hangs, and a stop is a stop."""

from __future__ import annotations

import errno
import json
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.toml.writer import write_toml
from kubelb.control.commands import Drain
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave, name_of
from tests.support.log import Log
from tests.support.program import OURS, STANDING, a_program
from tests.support.proxy import (
    KUBELB,
    EchoServers,
    Proxy,
    a_config,
    a_proxy,
    echoes,
    gone,
    reserved,
    sessions_by_thread,
    suspended,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[SocketAddress]]:
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as echo_servers:
        yield echo_servers.addresses


def refuses(address: SocketAddress) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) == errno.ECONNREFUSED


# Where the sessions go.


@pytest.mark.parametrize("threads", [1, 2])
def test_the_new_workers_share_the_sessions(tmp_path: Path, servers: list[SocketAddress], threads: int) -> None:
    with a_proxy(tmp_path, servers, threads=threads) as proxy, ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(12)]
        proxy.upgrade()
        assert all(map(echoes, clients))
        counts = [count for worker in proxy.workers() for count in sessions_by_thread(worker)]
        assert sum(counts) == len(clients)
        assert min(counts) > 0
        for client in clients:
            leave(client)


def test_the_workers_that_stay_share_the_sessions(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers, workers=4) as proxy, ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(32)]
        before = {worker.pid: sum(sessions_by_thread(worker)) for worker in proxy.workers()}
        file = tmp_path / "kubelb.toml"
        file.write_text(file.read_text().replace("workers = 4", "workers = 2"))
        adminclient.reload(proxy.runtime_dir)
        eventually(lambda: len(proxy.workers()) == 2, "two have left")
        assert all(map(echoes, clients))
        for worker in proxy.workers():
            assert sum(sessions_by_thread(worker)) > before[worker.pid]
        for client in clients:
            leave(client)


# Descriptors run out.


def test_an_old_worker_without_descriptors_keeps_its_sessions(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """What it is to give them through does not reach it: they go on where they are."""
    with a_proxy(tmp_path, servers, workers=1) as proxy, ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(4)]
        old, (worker,) = proxy.supervisor, proxy.workers()
        worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        old.send_signal(signal.SIGUSR2)
        proxy.log.wait_for("started", count=2)
        proxy.log.wait_for("sessions_not_handed_over")
        assert ask(proxy.address)
        assert all(map(echoes, clients))
        for client in clients:
            leave(client)
        eventually(lambda: gone(old), "the old one has nothing to do any more")


def test_an_old_supervisor_without_descriptors_goes_on(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers) as proxy, keep(proxy.address)[0] as client:
        supervisor = proxy.supervisor
        limits = supervisor.rlimit(psutil.RLIMIT_NOFILE)
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (supervisor.num_fds(), limits[1]))
        with pytest.raises(AdminFault, match="too many open files"):
            adminclient.upgrade(proxy.runtime_dir)
        supervisor.rlimit(psutil.RLIMIT_NOFILE, limits)
        assert echoes(client)
        assert ask(proxy.address)
        assert proxy.upgrade() != supervisor.pid
        assert echoes(client)
        leave(client)


# A stop is one.


@pytest.mark.parametrize("gracefully", [False, True])
def test_a_stop_of_the_new_one_stops_the_old_too(
    tmp_path: Path, servers: list[SocketAddress], gracefully: bool
) -> None:
    """It is the operator who wants no kubelb any more, not a new one that has failed."""
    with a_proxy(tmp_path, servers) as proxy, keep(proxy.address)[0] as client:
        old, address = proxy.supervisor, proxy.address
        with suspended(proxy.workers()):
            old.send_signal(signal.SIGUSR2)
            proxy.log.wait_for("started", count=2)
            new = proxy.supervisor
            assert new != old
            adminclient.stop(proxy.runtime_dir, gracefully)
            eventually(lambda: gone(new), "the new one has gone")
        if gracefully:
            assert echoes(client)
            leave(client)
        eventually(lambda: gone(old), "the old one has gone")
        assert refuses(address)
        assert not list(proxy.runtime_dir.iterdir())


@pytest.mark.parametrize("gracefully", [False, True])
def test_a_stop_that_the_old_control_is_asked_for_is_meant_for_the_new_one(
    tmp_path: Path, servers: list[SocketAddress], gracefully: bool
) -> None:
    with a_proxy(tmp_path, servers) as proxy, socket.socket(socket.AF_UNIX) as early:
        early.connect(str(proxy.runtime_dir / "admin.sock"))
        assert proxy.status(), "those before it have been accepted"
        old, address, workers = proxy.supervisor, proxy.address, proxy.workers()
        with suspended(workers):
            old.send_signal(signal.SIGUSR2)
            proxy.log.wait_for("started", count=2)
            new = proxy.supervisor
            body = json.dumps({"gracefully": gracefully})
            early.sendall(f"POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            eventually(lambda: gone(new), "the new one has gone")
        eventually(lambda: gone(old), "the old one has gone")
        assert refuses(address)
        assert not list(proxy.runtime_dir.iterdir())


def test_a_stop_is_heard_by_one_that_just_begins_to_serve(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """That its children serve reaches it before the old one's word does."""
    said = tmp_path / "said"
    said.mkdir()
    with a_program(tmp_path, servers) as (proxy, program):
        old, address = proxy.supervisor, proxy.address
        program.write_text(NOT_YET_TOLD.format(directory=str(said)) + OURS)
        old.send_signal(signal.SIGUSR2)
        new = proxy.standing()
        eventually(lambda: len(list(said.iterdir())) == 3, "all of its children have said that they serve")
        old.terminate()
        eventually(lambda: gone(old), "the old one has gone")
        new.resume()
        eventually(lambda: gone(new), "the new one has gone")
        assert len(proxy.log.events("started")) == 1
        assert refuses(address)
        assert not list(proxy.runtime_dir.iterdir())


NOT_YET_TOLD = """
import os, signal
from pathlib import Path
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Ready
from kubelb.worker import main as worker

def wait_until_parent_is(state):
    while Path("/proc", str(os.getppid()), "stat").read_text().rpartition(")")[2].split()[0] != state:
        pass

def stop_parent_and_run(setup, run=worker.run):
    if setup.index == 1:
        wait_until_parent_is("S")
        os.kill(os.getppid(), signal.SIGSTOP)
        wait_until_parent_is("T")
    run(setup)

def send_and_note(channel, message, fds=(), send=Channel.send):
    taken = send(channel, message, fds)
    if message == Ready():
        Path({directory!r}, str(os.getpid())).touch()
    return taken

worker.run, Channel.send = stop_parent_and_run, send_and_note
"""
"""Its last child stops the supervisor, which sleeps as it waits for its children, before it says that it serves; each
makes a file when it has said so."""


# Two at once.


def test_of_two_at_once_one_is_refused(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers) as proxy, ThreadPoolExecutor() as pool:
        supervisor = proxy.supervisor
        with suspended([supervisor]):
            both = [pool.submit(adminclient.upgrade, proxy.runtime_dir) for _ in range(2)]
            eventually(lambda: any(one.done() for one in both), "one is refused at once")
        refused, other = sorted(both, key=lambda one: one.exception(60) is None)
        assert "an upgrade is under way already" in str(refused.exception())
        assert other.result() == proxy.pid != supervisor.pid


# Counters.


def test_a_new_server_in_an_old_slot_begins_at_nothing(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers, "round_robin") as proxy:
        file, text = tmp_path / "kubelb.toml", (tmp_path / "kubelb.toml").read_text()
        for _ in range(4):
            assert ask(proxy.address)
        file.write_text(write_toml(a_config(proxy.address, servers[:1])))
        adminclient.reload(proxy.runtime_dir)
        eventually(lambda: len(proxy.servers()) == 1, "the other has left")
        with EchoServers() as others:
            file.write_text(text.replace(name_of(servers[1]), name_of(others.addresses[0])))
            proxy.upgrade()
            assert [(server.opened, server.bytes_down) for server in proxy.servers()][1] == (0, 0)


def test_nothing_is_left_of_many(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, servers) as proxy, keep(proxy.address)[0] as client:
        assert proxy.status().clients.active == 1, "control has all that it takes to answer"
        before = descriptors(proxy)
        for _ in range(6):
            proxy.upgrade()
            assert echoes(client)
            eventually(lambda: descriptors(proxy) <= before, "there are no more descriptors than before")
        assert proxy.status().clients.active == 1
        leave(client)
        eventually(lambda: proxy.status().clients.active == 0, "nobody is counted any more")


def descriptors(proxy: Proxy) -> int:
    return sum(process.num_fds() for process in (proxy.supervisor, *proxy.children()))


# Another kubelb.


@pytest.mark.parametrize("words", ["b'what?'", "b''", "b'\\x81\\xa4type\\xa3Hey'"])
def test_one_that_speaks_another_language_is_refused(
    tmp_path: Path, servers: list[SocketAddress], words: str
) -> None:
    with a_program(tmp_path, servers) as (proxy, program), keep(proxy.address)[0] as client:
        program.write_text(
            "import os, socket\n"
            "with socket.socket(fileno=int(os.environ['KUBELB_PREDECESSOR'])) as channel:\n"
            f"    channel.send({words})\n"
            "    channel.recv(1)\n"
        )
        before = proxy.children()
        with pytest.raises(AdminFault, match="kubelb"):
            adminclient.upgrade(proxy.runtime_dir)
        assert proxy.children() == before
        assert echoes(client)
        program.write_text(OURS)
        proxy.upgrade()
        assert echoes(client)
        leave(client)


def test_one_that_counts_in_another_way_begins_anew(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_program(tmp_path, servers) as (proxy, program), keep(proxy.address)[0] as client:
        program.write_text("import kubelb.stats\nkubelb.stats._THIS_LAYOUT += 1\n" + OURS)
        proxy.upgrade()
        proxy.log.wait_for("counters_begin_anew")
        clients = proxy.status().clients
        assert (clients.active, clients.accepted) == (1, 0)
        assert echoes(client)
        leave(client)
        eventually(lambda: proxy.status().clients.active == 0, "nobody is counted any more")


def test_counters_that_could_be_cut_off_begin_anew(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """An older kubelb does not seal them, and nobody can do so later."""
    unsealed = "import kubelb.stats\nkubelb.stats._SEALS = 0\n"
    with (
        a_program(tmp_path, servers, unsealed + OURS) as (proxy, program),
        keep(proxy.address)[0] as client,
    ):
        program.write_text(OURS)
        proxy.upgrade()
        proxy.log.wait_for("counters_begin_anew")
        assert proxy.status().clients.active == 1
        assert echoes(client)
        leave(client)
        eventually(lambda: proxy.status().clients.active == 0, "nobody is counted any more")


@pytest.mark.parametrize("value", ["", "x", "-1", "1000000", "99999999999999999999", "0", "{tcp}", "{unix}"])
def test_a_predecessor_that_is_none(tmp_path: Path, servers: list[SocketAddress], value: str) -> None:
    """Somebody has set the variable, by chance or to no good."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as unix, reserved() as listen:
        file = tmp_path / "kubelb.toml"
        file.write_text(write_toml(a_config(listen, servers)))
        ended = subprocess.run(
            [str(KUBELB), "run", "--runtime-dir", str(tmp_path / "run"), "--config", str(file)],
            env={"KUBELB_PREDECESSOR": value.format(tcp=tcp.fileno(), unix=unix.fileno())},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[tcp.fileno(), unix.fileno()],
            text=True,
            timeout=60,
        )
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert "KUBELB_PREDECESSOR" in line or "the running kubelb" in line


# What changes meanwhile.


def refused(proxy: Proxy) -> bool:
    """Whether nothing is to be changed now."""
    try:
        adminclient.command(proxy.runtime_dir, Drain(proxy.servers()[0].name))
    except AdminFault as fault:
        return "an upgrade is under way" in str(fault)
    return False


def test_a_control_process_that_comes_meanwhile_knows(tmp_path: Path, servers: list[SocketAddress]) -> None:
    with a_program(tmp_path, servers) as (proxy, program), keep(proxy.address)[0] as client:
        program.write_text(STANDING)
        proxy.supervisor.send_signal(signal.SIGUSR2)
        new = proxy.standing()
        eventually(lambda: refused(proxy), "control knows")
        control = proxy.control()
        control.kill()
        proxy.log.wait_for("child_died")
        with pytest.raises(AdminFault, match="an upgrade is under way"):
            eventually(lambda: reloaded(proxy), "there is another one")
        new.resume()
        proxy.log.wait_for("upgraded")
        assert echoes(client)
        leave(client)


def reloaded(proxy: Proxy) -> bool:
    """False: there was nobody to ask."""
    try:
        adminclient.reload(proxy.runtime_dir)
    except AdminFault as fault:
        if "an upgrade" in str(fault):
            raise
        return False
    return True


@pytest.mark.usefixtures("root")
def test_a_container_that_is_stopped_on_the_way(tmp_path: Path, servers: list[SocketAddress]) -> None:
    """Its first process is the old one still, which the new one does not concern any more."""
    with reserved() as listen, ExitStack() as stack:
        runtime_dir, file = tmp_path / "run", tmp_path / "kubelb.toml"
        file.write_text(write_toml(a_config(listen, servers)))
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        command += [str(KUBELB), "run", "--runtime-dir", str(runtime_dir), "--config", str(file)]
        container = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        assert container.stderr is not None
        log = Log(container.stderr)
        stack.callback(log.wait_end)
        stack.callback(container.kill)
        log.wait_for("started")
        (first,) = psutil.Process(container.pid).children()
        stack.enter_context(keep(listen)[0])
        workers = [child for child in first.children() if child.num_threads() == 1]
        with suspended(workers):
            first.send_signal(signal.SIGUSR2)
            log.wait_for("started", count=2)
            first.terminate()
            log.wait_for("stopped")
        assert container.wait(60) == 0
        assert refuses(listen)
        assert not list(runtime_dir.iterdir())
