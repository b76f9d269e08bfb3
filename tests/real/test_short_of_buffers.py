"""A process for whose messages the kernel has no memory goes on, and says what it has to say once there is some."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.toml.writer import write_toml
from kubelb.control.commands import Drain
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, asked, keep, leave
from tests.support.program import OURS, a_program
from tests.support.proxy import Proxy, a_config, echoes, gone

pytestmark = pytest.mark.usefixtures("no_leaks")

T = TypeVar("T")
_CODE = """\
import errno, os, socket

succeeds = "KUBELB_PREDECESSOR" in os.environ
started = os.getpid()


def what_is_armed():
    try:
        return open({armed!r}).read().split()
    except FileNotFoundError:
        return []


def failing(name, number, kind=socket.SOCK_SEQPACKET):
    call = getattr(socket.socket, name)

    def instead(sock, *args):
        if (sock.family, sock.type) == (socket.AF_UNIX, kind) and (armed := what_is_armed()):
            who, *calls = armed
            is_it = succeeds and os.getpid() == started if who == "successor" else os.getpid() == int(who)
            if is_it and name in calls:
                open({failed!r}, "w").close()
                raise OSError(number, "made to fail")
        return call(sock, *args)

    setattr(socket.socket, name, instead)


failing("sendall", errno.ENOBUFS)
failing("sendmsg", errno.ENOBUFS)
failing("recvmsg", errno.ENOMEM)
failing("send", errno.ENOBUFS, socket.SOCK_STREAM)
"""
SENDS = ("sendall", "sendmsg")


class Shortage:
    """While it lasts, calls of one process for messages fail."""

    def __init__(self, directory: Path) -> None:
        self.armed = directory / "armed"
        self.failed = directory / "failed"

    def begin(self, who: int | str, *calls: str) -> None:
        draft = self.armed.with_suffix(".draft")
        draft.write_text(" ".join((str(who), *calls)))
        draft.rename(self.armed)

    def end(self) -> None:
        """Once a call has failed."""
        eventually(self.failed.exists, "a call has failed")
        self.armed.rename(self.armed.with_suffix(".over"))

    def over(self, call: Callable[[], T]) -> Future[T]:
        """Begin the call while it lasts; what comes of it is known when it has ended."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(call)
            self.end()
        return future


@pytest.fixture
def shortage(tmp_path: Path) -> Shortage:
    return Shortage(tmp_path)


@pytest.fixture
def proxy(tmp_path: Path, servers: IdentityServers, shortage: Shortage) -> Iterator[Proxy]:
    """Of its processes only those end that a test ends."""
    code = _CODE.format(armed=str(shortage.armed), failed=str(shortage.failed)) + OURS
    with a_program(tmp_path, servers.addresses, code) as (proxy, _):
        yield proxy
        assert not proxy.log.events("child_stuck")


def test_a_reload_whose_answer_cannot_be_sent_is_refused_in_one_line(proxy: Proxy, shortage: Shortage) -> None:
    supervisor = proxy.supervisor
    shortage.begin(supervisor.pid, *SENDS)
    with pytest.raises(AdminFault, match="no buffer space available"):
        shortage.over(lambda: adminclient.reload(proxy.runtime_dir)).result()
    assert adminclient.reload(proxy.runtime_dir) == ()
    assert proxy.supervisor == supervisor


def test_a_new_worker_gets_its_sockets_later(proxy: Proxy, shortage: Shortage) -> None:
    supervisor, (dead, living) = proxy.supervisor, proxy.workers()
    shortage.begin(supervisor.pid, *SENDS)
    dead.kill()
    shortage.end()
    eventually(lambda: len(proxy.workers()) == 2, "there is another worker")
    living.suspend()
    eventually(lambda: asked(proxy.address), "the new worker serves")
    living.resume()
    assert proxy.supervisor == supervisor


def test_a_snapshot_reaches_the_workers_later(proxy: Proxy, shortage: Shortage) -> None:
    only = ask(proxy.address)
    shortage.begin(proxy.pid, *SENDS)
    adminclient.command(proxy.runtime_dir, Drain(only))
    assert asked(proxy.address) == only
    shortage.end()
    eventually(lambda: not any(asked(proxy.address) for _ in range(8)), "workers go by it")
    assert not proxy.log.events("child_died")


def test_a_stop_is_told_later(proxy: Proxy, shortage: Shortage) -> None:
    shortage.begin(proxy.pid, *SENDS)
    proxy.supervisor.send_signal(signal.SIGQUIT)
    shortage.end()
    assert proxy.wait() == 0
    assert not proxy.log.events("child_died")


def test_sessions_of_a_worker_that_leaves_are_handed_over_later(
    tmp_path: Path, proxy: Proxy, servers: IdentityServers, shortage: Shortage
) -> None:
    before = proxy.workers()
    clients = [keep(proxy.address)[0] for _ in range(8)]
    config = a_config(proxy.address, servers.addresses)
    (tmp_path / "kubelb.toml").write_text(write_toml(msgspec.structs.replace(config, workers=1)))
    shortage.begin(proxy.pid, "sendmsg")
    adminclient.reload(proxy.runtime_dir)
    shortage.end()
    eventually(lambda: sum(map(gone, before)) == 1, "the worker has ended: it has no session any more")
    for client in clients:
        assert echoes(client)
        leave(client)


def test_what_the_supervisor_cannot_receive_it_receives_later(proxy: Proxy, shortage: Shortage) -> None:
    supervisor = proxy.supervisor
    shortage.begin(supervisor.pid, "recvmsg")
    assert shortage.over(lambda: adminclient.reload(proxy.runtime_dir)).result() == ()
    assert proxy.supervisor == supervisor


@pytest.mark.parametrize("calls", [SENDS, ["recvmsg"], ["send"]])
def test_a_reload_goes_on_once_control_can(proxy: Proxy, shortage: Shortage, calls: tuple[str, ...]) -> None:
    control = proxy.control()
    shortage.begin(control.pid, *calls)
    assert shortage.over(lambda: adminclient.reload(proxy.runtime_dir)).result() == ()
    assert proxy.control() == control


def test_what_a_worker_cannot_receive_it_receives_later(proxy: Proxy, shortage: Shortage) -> None:
    workers = proxy.workers()
    shortage.begin(workers[0].pid, "recvmsg")
    assert shortage.over(lambda: adminclient.reload(proxy.runtime_dir)).result() == ()
    assert proxy.workers() == workers


@pytest.mark.parametrize("who", ["supervisor", "successor", "worker"])
@pytest.mark.parametrize("calls", [SENDS, ["recvmsg"]])
def test_an_upgrade_loses_no_session(proxy: Proxy, shortage: Shortage, who: str, calls: tuple[str, ...]) -> None:
    clients = [keep(proxy.address)[0] for _ in range(8)]
    pids = {"supervisor": proxy.pid, "worker": proxy.workers()[0].pid}
    shortage.begin(pids.get(who, who), *calls)
    upgrade = shortage.over(proxy.upgrade)
    if (fault := upgrade.exception()) is not None:
        assert "no buffer space available" in str(fault)
        proxy.upgrade()
    for client in clients:
        assert echoes(client)
        leave(client)
