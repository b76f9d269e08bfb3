"""How the proxy ends, and what stands in its runtime directory: signals to the real program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import psutil
import pytest

from kubelb.config.values import Duration
from kubelb.deadlines import Deadlines
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.log import DEADLINE
from tests.support.program import impatient
from tests.support.proxy import KUBELB, Proxy, a_config, a_proxy, echoes, reserved, running, suspended

pytestmark = pytest.mark.usefixtures("no_leaks")

Send = Callable[[Proxy, signal.Signals], None]


def to_the_supervisor(proxy: Proxy, number: signal.Signals) -> None:
    proxy.process.send_signal(number)


def to_the_group(proxy: Proxy, number: signal.Signals) -> None:
    """As a terminal does with Ctrl-C and Ctrl-\\."""
    os.killpg(proxy.pid, number)


def refuses(address: tuple[str, int]) -> bool:
    """Whether nobody listens any more. Who still got in is let go."""
    try:
        with socket.create_connection(address, DEADLINE):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False


def phases(proxy: Proxy) -> list[str]:
    """Of its stop, as the log tells them."""
    assert len(proxy.log.events("stopped")) == 1
    return [record["how"] for record in proxy.log.events("stopping")]


def assert_ended(proxy: Proxy, children: list[psutil.Process]) -> None:
    assert proxy.wait() == 0, proxy.log.text
    _, alive = psutil.wait_procs(children, DEADLINE)
    assert not alive
    assert list(proxy.runtime_dir.iterdir()) == []
    assert refuses(proxy.address)


@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGTERM, to_the_supervisor),
        (signal.SIGINT, to_the_supervisor),
        (signal.SIGTERM, to_the_group),
        (signal.SIGINT, to_the_group),
    ],
)
def test_a_fast_stop_cuts_and_leaves_nothing(
    tmp_path: Path, servers: IdentityServers, number: signal.Signals, send: Send
) -> None:
    with reserved() as listen:
        config = a_config(listen, servers.addresses)
        with running(tmp_path, config=config, own_session=True) as proxy, ExitStack() as held:
            clients = [held.enter_context(keep(listen)[0]) for _ in range(4)]
            children = proxy.children()
            assert len(children) == 3
            send(proxy, number)
            assert_ended(proxy, children)
            assert [_rest(client) for client in clients] == [b""] * 4
            assert phases(proxy) == ["stopping"]


def _rest(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionResetError:
        return b""


def test_children_that_a_stop_reaches_first_are_no_news(tmp_path: Path, servers: IdentityServers) -> None:
    with reserved() as listen:
        with running(tmp_path, config=a_config(listen, servers.addresses), own_session=True) as proxy:
            children = proxy.children()
            with suspended([proxy.supervisor]):
                to_the_group(proxy, signal.SIGTERM)
                eventually(lambda: all(child.status() == psutil.STATUS_ZOMBIE for child in children), "they are dead")
            assert proxy.wait() == 0
        assert phases(proxy) == ["stopping"]
        assert not proxy.log.events("child_died")


@pytest.mark.parametrize("threads", ["auto", 2, "per-connection"])
@pytest.mark.parametrize("send", [to_the_supervisor, to_the_group])
def test_a_graceful_stop_lets_sessions_end(
    tmp_path: Path, servers: IdentityServers, threads: int | Literal["auto", "per-connection"], send: Send
) -> None:
    with reserved() as listen:
        config = a_config(listen, servers.addresses, threads=threads)
        with running(tmp_path, config=config, own_session=True) as proxy, ExitStack() as held:
            clients = [held.enter_context(keep(listen)[0]) for _ in range(6)]
            children = proxy.children()
            send(proxy, signal.SIGQUIT)
            eventually(lambda: refuses(listen), "nobody listens")
            assert all(map(echoes, clients))
            eventually(lambda: proxy.status().clients.active == 6, "whoever looked whether somebody listens has left")
            for client in clients[1:]:
                leave(client)
            eventually(lambda: proxy.status().clients.active == 1, "one session is left")
            assert echoes(clients[0])
            leave(clients[0])
            assert_ended(proxy, children)
            assert phases(proxy) == ["draining", "stopping"]


def test_a_signal_that_comes_at_the_very_end_is_not_the_exit_status(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        proxy.process.send_signal(signal.SIGTERM)
        while proxy.process.poll() is None:
            proxy.process.send_signal(signal.SIGHUP)
        assert proxy.wait() == 0, proxy.log.text


def test_a_graceful_stop_without_sessions_is_the_end(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        children = proxy.children()
        proxy.process.send_signal(signal.SIGQUIT)
        assert_ended(proxy, children)


def test_a_graceful_stop_has_its_time(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses, shutdown_timeout=Duration(0.5)) as proxy, ExitStack() as held:
        clients = [held.enter_context(keep(proxy.address)[0]) for _ in range(2)]
        children = proxy.children()
        proxy.process.send_signal(signal.SIGQUIT)
        assert [_rest(client) for client in clients] == [b""] * 2
        assert_ended(proxy, children)
        assert phases(proxy) == ["draining", "stopping"]


def test_a_graceful_stop_can_be_cut_short(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, ExitStack() as held:
        client = held.enter_context(keep(proxy.address)[0])
        children = proxy.children()
        for _ in range(2):
            proxy.process.send_signal(signal.SIGQUIT)
            eventually(lambda: refuses(proxy.address), "nobody listens")
        assert echoes(client)
        proxy.process.send_signal(signal.SIGTERM)
        assert_ended(proxy, children)
        assert phases(proxy) == ["draining", "stopping"]


def test_a_graceful_stop_serves_who_was_waiting(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, ExitStack() as held:
        children = proxy.children()
        with suspended(proxy.workers()):
            clients = [held.enter_context(socket.create_connection(proxy.address, DEADLINE)) for _ in range(40)]
            proxy.process.send_signal(signal.SIGQUIT)
            proxy.log.wait_for("stopping")
        greeting = f"{name_of(servers.addresses[0])}\n".encode()
        assert [client.recv(256) for client in clients] == [greeting] * 40
        for client in clients:
            leave(client)
        assert_ended(proxy, children)


def test_a_worker_that_hangs_is_killed_at_a_stop(tmp_path: Path, servers: IdentityServers) -> None:
    with (
        reserved() as listen,
        impatient(tmp_path, a_config(listen, servers.addresses, workers=1), Deadlines(stop=0.1)) as proxy,
    ):
        children = proxy.children()
        with suspended(proxy.workers()):
            proxy.process.send_signal(signal.SIGTERM)
            assert_ended(proxy, children)
            assert phases(proxy) == ["stopping", "killing"]


def test_the_runtime_directory(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        assert (proxy.runtime_dir / "kubelb.pid").read_text() == f"{proxy.pid}\n"
        assert (proxy.runtime_dir / "kubelb.pid").stat().st_mode & 0o777 == 0o644
        assert (proxy.runtime_dir / "admin.sock").stat().st_mode & 0o777 == 0o600
        assert proxy.status().pid == proxy.pid


def test_a_second_one_is_refused(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, reserved() as other:
        flags = ["--listen", name_of(other), "--server", name_of(servers.addresses[0])]
        second = subprocess.run(
            [str(KUBELB), "run", "--runtime-dir", str(proxy.runtime_dir), *flags],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert (second.returncode, second.stdout, second.stderr) == (
            1,
            "",
            f"kubelb already runs on {proxy.runtime_dir} (pid {proxy.pid}); "
            "stop it, or give this one its own --runtime-dir (in an nginx.conf: its own pid)\n",
        )
        assert (proxy.runtime_dir / "kubelb.pid").read_text() == f"{proxy.pid}\n"
        assert proxy.status().pid == proxy.pid
        assert ask(proxy.address) == name_of(servers.addresses[0])


def test_what_a_killed_one_left_is_taken_over(tmp_path: Path, servers: IdentityServers) -> None:
    with reserved() as listen:
        config = a_config(listen, servers.addresses)
        with running(tmp_path, config=config) as proxy:
            proxy.process.kill()
            assert proxy.wait() == -signal.SIGKILL
            assert sorted(path.name for path in proxy.runtime_dir.iterdir()) == ["admin.sock", "kubelb.pid"]
        with running(tmp_path, config=config) as proxy:
            assert (proxy.runtime_dir / "kubelb.pid").read_text() == f"{proxy.pid}\n"
            assert proxy.status().pid == proxy.pid
            assert ask(listen) == name_of(servers.addresses[0])


def test_a_signal_for_the_supervisor_that_reaches_the_whole_group_ends_nothing(
    tmp_path: Path, servers: IdentityServers
) -> None:
    with reserved() as listen:
        config = a_config(listen, servers.addresses)
        with running(tmp_path, config=config, own_session=True) as proxy, keep(proxy.address)[0] as client:
            before = proxy.children()
            to_the_group(proxy, signal.SIGUSR1)
            to_the_group(proxy, signal.SIGHUP)
            proxy.log.wait_for("reloaded")
            assert echoes(client)
            eventually(lambda: proxy.children() == before, "all that has come for it has gone")
