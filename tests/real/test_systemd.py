"""What the whole program tells systemd, for which a datagram socket stands in, and the unit that it is run by."""

from __future__ import annotations

import ctypes
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.pools import Health
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Duration
from kubelb.snapshot import SocketAddress
from kubelb.supervisor.systemd import Systemd
from tests.support import debian
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, Proxy, a_config, echoes, reserved, running, suspended
from tests.support.requirements import missing

pytestmark = pytest.mark.usefixtures("no_leaks")

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "kubelb.service"
ALL_WELL = "2 of 2 servers usable; 2 of 2 workers"
_PR_SET_MDWE, _PR_GET_MDWE, _REFUSE_EXEC_GAIN = 65, 66, 1
_UCRED = struct.Struct("iII")
"""struct ucred: pid, uid, gid (unix(7))."""
Notice = dict[str, str]


class StandIn:
    """systemd's end: what it is told, in order."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock = sock
        self.sender = 0
        """Of the last notice: a pid."""
        name = sock.getsockname()
        self.address = "@" + name[1:].decode() if isinstance(name, bytes) else str(name)

    def next(self) -> Notice:
        data, ((_, _, credentials),), _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(_UCRED.size))
        self.sender = _UCRED.unpack(credentials)[0]
        lines = data.decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def until(self, **fields: str) -> list[Notice]:
        """The notices up to the first that says this, with it."""
        notices = [self.next()]
        while not fields.items() <= notices[-1].items():
            notices.append(self.next())
        return notices

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing is there, nor comes within that time."""
        with self._waiting(seconds), suppress(TimeoutError, BlockingIOError):
            self.next()
            return False
        return True

    def empty(self) -> None:
        """Forget what has come so far."""
        while not self.is_silent(0):
            continue

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        self._sock.settimeout(seconds)
        yield
        self._sock.settimeout(DEADLINE)

    def fill(self) -> None:
        """Until nothing more goes in."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(BlockingIOError):
            while sock.sendto(b"FULL=1", socket.MSG_DONTWAIT, self._sock.getsockname()):
                continue


@contextmanager
def a_stand_in(name: str) -> Iterator[StandIn]:
    """Bound to a path, or for "" to an abstract name that the kernel chooses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        yield StandIn(sock)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[StandIn]:
    with a_stand_in(str(tmp_path / "notify")) as stand_in:
        yield stand_in


@contextmanager
def a_told_proxy(
    directory: Path, systemd: StandIn, servers: list[SocketAddress], health: Health | None = None, **variables: str
) -> Iterator[tuple[Proxy, Config]]:
    with reserved() as listen:
        config = a_config(listen, servers)
        if health is not None:
            config = with_pool(config, health=health)
        environment = {"NOTIFY_SOCKET": systemd.address, **variables}
        with running(directory, config=config, environment=environment) as proxy:
            yield proxy, config


def with_pool(config: Config, **changes: object) -> Config:
    pool = msgspec.structs.replace(config.pools["pool"], **changes)
    return msgspec.structs.replace(config, pools={"pool": pool})


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_is_said_once_all_serve(tmp_path: Path, answering: list[SocketAddress], kind: str) -> None:
    with ExitStack() as stack:
        systemd = stack.enter_context(a_stand_in(str(tmp_path / "notify") if kind == "path" else ""))
        proxy, config = stack.enter_context(a_told_proxy(tmp_path, systemd, answering))
        *before, ready = systemd.until(READY="1")
        assert ready == {"READY": "1", "STATUS": ALL_WELL}
        assert all(notice.keys() == {"STATUS"} for notice in before)
        listen = config.listeners[0].listen[0]
        assert ask((listen.host, listen.port)) in map(name_of, answering)
        assert len(proxy.servers()) == 2


def assert_reload_is_told(systemd: StandIn, asked_at: int, status: str) -> None:
    """``asked_at`` in nanoseconds of the monotonic clock."""
    (reloading,) = systemd.until(RELOADING="1")
    assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert asked_at // 1000 <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert systemd.until(READY="1")[-1] == {"READY": "1", "STATUS": status}


def test_a_reload_begins_and_ends(tmp_path: Path, answering: list[SocketAddress], systemd: StandIn) -> None:
    with a_told_proxy(tmp_path, systemd, answering) as (proxy, config):
        systemd.until(READY="1")
        servers = config.pools["pool"].servers[:1]
        (tmp_path / "kubelb.toml").write_text(write_toml(with_pool(config, servers=servers)))
        asked_at = time.monotonic_ns()
        proxy.process.send_signal(signal.SIGHUP)
        assert_reload_is_told(systemd, asked_at, "1 of 1 servers usable; 2 of 2 workers")
        proxy.log.wait_for("reloaded")

        (tmp_path / "kubelb.toml").write_text("nonsense")
        asked_at = time.monotonic_ns()
        proxy.process.send_signal(signal.SIGHUP)
        assert_reload_is_told(systemd, asked_at, "1 of 1 servers usable; 2 of 2 workers")
        proxy.log.wait_for("reload_failed")


def test_a_reload_by_command_is_told_too(tmp_path: Path, answering: list[SocketAddress], systemd: StandIn) -> None:
    with a_told_proxy(tmp_path, systemd, answering) as (proxy, _):
        systemd.until(READY="1")
        asked_at = time.monotonic_ns()
        adminclient.reload(proxy.runtime_dir)
        assert_reload_is_told(systemd, asked_at, ALL_WELL)


def test_ready_is_said_again_when_control_is_back(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn
) -> None:
    with a_told_proxy(tmp_path, systemd, answering) as (proxy, _):
        systemd.until(READY="1")
        proxy.control().kill()
        assert systemd.next() == {"READY": "1", "STATUS": ALL_WELL}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fast_stop_is_told(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn, number: signal.Signals
) -> None:
    with a_told_proxy(tmp_path, systemd, answering) as (proxy, _):
        systemd.until(READY="1")
        assert proxy.end(number) == 0
        assert systemd.next() == {"STOPPING": "1", "STATUS": "stopping"}
        assert systemd.is_silent(0)


def test_a_graceful_stop_is_told_when_it_begins(tmp_path: Path, servers: IdentityServers, systemd: StandIn) -> None:
    with a_told_proxy(tmp_path, systemd, servers.addresses) as (proxy, _):
        systemd.until(READY="1")
        client, _ = keep(proxy.address)
        proxy.process.send_signal(signal.SIGQUIT)
        assert systemd.next() == {"STOPPING": "1", "STATUS": "draining"}
        proxy.process.send_signal(signal.SIGHUP)
        proxy.log.wait_for("reloaded")
        assert echoes(client)
        leave(client)
        assert systemd.next() == {"STOPPING": "1", "STATUS": "stopping"}
        assert proxy.wait() == 0


def test_an_upgrade_is_told_by_whom_systemd_listens_to(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn
) -> None:
    with a_told_proxy(tmp_path, systemd, answering, WATCHDOG_USEC="60000000") as (proxy, _):
        systemd.until(READY="1")
        old = systemd.sender
        new = proxy.upgrade()
        notice = systemd.next()
        while "MAINPID" not in notice:
            assert systemd.sender == old, notice
            notice = systemd.next()
        assert (notice, systemd.sender) == ({"MAINPID": str(new)}, old)
        assert systemd.until(READY="1")[-1] == {"READY": "1", "STATUS": ALL_WELL}
        assert systemd.sender == new
        adminclient.reload(proxy.runtime_dir)
        systemd.until(RELOADING="1")
        assert proxy.end(signal.SIGTERM) == 0
        systemd.until(STOPPING="1")
        assert systemd.sender == new


def test_the_status_line_follows_the_servers(
    tmp_path: Path, servers: IdentityServers, refuser: SocketAddress, systemd: StandIn
) -> None:
    health = Health(probe="tcp", interval=Duration(0.05))
    with a_told_proxy(tmp_path, systemd, [*servers.addresses, refuser], health):
        systemd.until(STATUS="1 of 2 servers usable, 1 suspect; 2 of 2 workers")


def test_the_status_line_follows_the_workers(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn
) -> None:
    with a_told_proxy(tmp_path, systemd, answering) as (proxy, _):
        systemd.until(READY="1")
        proxy.workers()[0].kill()
        assert systemd.next() == {"STATUS": "2 of 2 servers usable; 1 of 2 workers"}
        assert systemd.next() == {"READY": "1", "STATUS": ALL_WELL}


def test_signs_of_life_come_from_the_supervisors_loop(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn
) -> None:
    with a_told_proxy(tmp_path, systemd, answering, WATCHDOG_USEC="100000") as (proxy, _):
        systemd.until(READY="1")
        assert [systemd.next() for _ in range(4)] == [{"WATCHDOG": "1"}] * 4
        with suspended([psutil.Process(proxy.pid)]):
            systemd.empty()
            assert ask(proxy.address) in map(name_of, answering)
            assert systemd.is_silent(0.3)
        assert systemd.next() == {"WATCHDOG": "1"}


def test_nobody_asks_for_signs_of_life(tmp_path: Path, answering: list[SocketAddress], systemd: StandIn) -> None:
    with a_told_proxy(tmp_path, systemd, answering, WATCHDOG_USEC="20000", WATCHDOG_PID="1"):
        systemd.until(READY="1")
        assert systemd.is_silent(0.2)


def test_a_socket_that_is_gone_harms_nothing(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn
) -> None:
    (tmp_path / "notify").unlink()
    with a_told_proxy(tmp_path, systemd, answering, WATCHDOG_USEC="20000") as (proxy, _):
        assert ask(proxy.address) in map(name_of, answering)
        adminclient.reload(proxy.runtime_dir)
        assert proxy.end(signal.SIGQUIT) == 0
        (refused,) = proxy.log.events("systemd_not_told")
        assert refused["reason"] == "no such file or directory"


def test_a_socket_that_is_full_harms_nothing(
    tmp_path: Path, answering: list[SocketAddress], systemd: StandIn
) -> None:
    systemd.fill()
    with a_told_proxy(tmp_path, systemd, answering) as (proxy, _):
        proxy.log.wait_for("systemd_not_told")
        assert ask(proxy.address) in map(name_of, answering)
        adminclient.reload(proxy.runtime_dir)
        systemd.empty()
        assert proxy.end(signal.SIGQUIT) == 0
        assert systemd.until(STATUS="stopping")[-1] == {"STOPPING": "1", "STATUS": "stopping"}


def test_memory_is_never_both_written_and_executed(tmp_path: Path, answering: list[SocketAddress]) -> None:
    """As under MemoryDenyWriteExecute=, https probes included (PR_SET_MDWE(2const))."""
    prctl = ctypes.CDLL(None).prctl
    if prctl(_PR_GET_MDWE, 0, 0, 0, 0) != 0:
        missing("PR_SET_MDWE (Linux 6.3)")

    def deny() -> None:
        prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)
        assert prctl(_PR_GET_MDWE, 0, 0, 0, 0) == _REFUSE_EXEC_GAIN

    with reserved() as listen:
        config = with_pool(a_config(listen, answering), health=Health(interval=Duration(0.05)))
        with running(tmp_path, config=config, prepare=deny) as proxy:
            assert ask(listen) in map(name_of, answering)
            adminclient.reload(proxy.runtime_dir)
            eventually(lambda: all(server.probe for server in proxy.servers()), "all have been probed")


@debian.SYSTEMD
def test_the_units_are_well_formed_and_confined(tmp_path: Path) -> None:
    analyze = debian.provided("systemd-analyze")
    units = [tmp_path / UNIT.name, tmp_path / UNIT.with_suffix(".socket").name]
    for unit in units:
        unit.write_text((UNIT.parent / unit.name).read_text().replace("/usr/bin/kubelb", str(KUBELB)))
    for check in (
        ["verify", *map(str, units)],
        ["security", "--offline=true", "--threshold=20", "--no-pager", str(units[0])],
    ):
        done = subprocess.run([analyze, *check], capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_another_process_becomes_the_service(systemd: StandIn) -> None:
    Systemd({"NOTIFY_SOCKET": systemd.address}, pid=7).main_pid(8)
    assert systemd.next() == {"MAINPID": "8"}
