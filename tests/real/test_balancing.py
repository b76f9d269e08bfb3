"""How the real proxy deals sessions to its servers, with all of its workers."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import pytest

from kubelb.config.model.pools import Balance, Server
from kubelb.config.values import Address, Duration
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.holes import a_hole
from tests.support.identity import IdentityServers, ask, keep, leave, name_of, refusing
from tests.support.log import DEADLINE
from tests.support.proxy import Proxy, a_proxy, reserved, running, sessions_by_thread
from tests.support.requirements import require_ipv6

pytestmark = pytest.mark.usefixtures("no_leaks")

HOUR = Duration(3600)
_HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


@pytest.fixture(scope="module")
def staying() -> Iterator[list[SocketAddress]]:
    with IdentityServers(_HOSTS, stay=True) as servers:
        yield servers.addresses


@pytest.fixture(scope="module")
def answering() -> Iterator[list[SocketAddress]]:
    with IdentityServers(_HOSTS) as servers:
        yield servers.addresses


@pytest.fixture
def refusers() -> Iterator[list[SocketAddress]]:
    with refusing(_HOSTS) as addresses:
        yield addresses


def member(
    address: SocketAddress,
    weight: int = 1,
    max_fails: int = 1,
    fail_timeout: Duration = HOUR,
    max_conns: int = 0,
    backup: bool = False,
    down: bool = False,
) -> Server:
    return Server(
        address=Address(*address),
        weight=weight,
        max_fails=max_fails,
        fail_timeout=fail_timeout,
        max_conns=max_conns,
        backup=backup,
        down=down,
    )


@contextmanager
def kept(address: SocketAddress, count: int) -> Iterator[Counter[str]]:
    """So many sessions, opened one after the other: how many each server got."""
    with ExitStack() as held:
        names: Counter[str] = Counter()
        for _ in range(count):
            client, name = keep(address)
            held.callback(leave, client)
            names[name] += 1
        yield names


def names_of(addresses: Sequence[SocketAddress]) -> list[str]:
    return [name_of(address) for address in addresses]


def used_threads(proxy: Proxy) -> int:
    return sum(count > 0 for worker in proxy.workers() for count in sessions_by_thread(worker))


def rests(worker: psutil.Process) -> bool:
    """Whether all of its threads sleep."""
    tasks = Path("/proc", str(worker.pid), "task").iterdir()
    return all((task / "stat").read_text().rpartition(") ")[2].startswith("S") for task in tasks)


@pytest.mark.parametrize(("workers", "threads"), [(2, "auto"), (1, 2)])
def test_steady_arrivals_are_spread_over_workers_and_threads(
    tmp_path: Path, staying: list[SocketAddress], workers: int, threads: int | Literal["auto"]
) -> None:
    with a_proxy(tmp_path, staying, workers=workers, threads=threads) as proxy, ExitStack() as held:
        processes = proxy.workers()
        for _ in range(60):
            eventually(lambda: all(map(rests, processes)), "nobody is busy")
            held.callback(leave, keep(proxy.address)[0])
        shares = [count for worker in processes for count in sessions_by_thread(worker)]
        assert sum(shares) == 60
        assert len(shares) == 2
        assert min(shares) >= 27


def keep_with_all(proxy: Proxy, held: ExitStack) -> Counter[str]:
    """Sessions, three at a time, until every thread has some: how many each server got."""
    names: Counter[str] = Counter()

    def more() -> bool:
        names.update(held.enter_context(kept(proxy.address, 3)))
        return used_threads(proxy) == 2

    eventually(more, "every thread has sessions")
    return names


def test_least_conn_is_global(tmp_path: Path, staying: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, staying, "least_conn") as proxy, ExitStack() as held:
        names = keep_with_all(proxy, held) + held.enter_context(kept(proxy.address, 30))
        each = names.total() // 3
        assert names == dict.fromkeys(names_of(staying), each)
        assert [server.active for server in proxy.servers()] == [each] * 3


def test_least_conn_fills_the_one_that_was_left(tmp_path: Path, staying: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, staying, "least_conn") as proxy, ExitStack() as held, ExitStack() as leaving:
        for _ in range(18):
            client, name = keep(proxy.address)
            (leaving if name == name_of(staying[1]) else held).callback(leave, client)
        leaving.close()
        eventually(lambda: [server.active for server in proxy.servers()] == [6, 0, 6], "one is left by all")
        with kept(proxy.address, 6) as names:
            assert names == {name_of(staying[1]): 6}


@pytest.mark.parametrize(("balance", "workers"), [("least_conn", 2), ("round_robin", 1)])
def test_shares_follow_weights(tmp_path: Path, staying: list[SocketAddress], balance: Balance, workers: int) -> None:
    weights = (5, 2, 1)
    servers = [member(address, weight=weight) for address, weight in zip(staying, weights, strict=True)]
    with a_proxy(tmp_path, servers, balance, workers=workers) as proxy, kept(proxy.address, 32) as names:
        assert names == dict(zip(names_of(staying), (20, 8, 4), strict=True))


def test_a_backup_is_used_only_when_no_primary_accepts(
    tmp_path: Path, answering: list[SocketAddress], refusers: list[SocketAddress]
) -> None:
    primary, backup = answering[:2]
    servers = [member(refusers[0]), member(backup, backup=True), member(primary)]
    with a_proxy(tmp_path, servers) as proxy:
        assert {ask(proxy.address) for _ in range(10)} == {name_of(primary)}
    servers = [member(refusers[0]), member(backup, backup=True), member(refusers[1])]
    with a_proxy(tmp_path, servers) as proxy:
        assert {ask(proxy.address) for _ in range(10)} == {name_of(backup)}


def test_one_that_is_down_is_never_dialled(tmp_path: Path, answering: list[SocketAddress]) -> None:
    down, *others = answering
    servers = [member(down, down=True), *map(member, others)]
    with a_proxy(tmp_path, servers, "round_robin") as proxy:
        assert {ask(proxy.address) for _ in range(12)} == set(names_of(others))
        first = proxy.servers()[0]
        assert (first.state, first.opened, first.dial_failures) == ("disabled", 0, 0)


def is_greeted(client: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return client.recv(256) != b""
    return False


def test_max_conns_holds_over_all_workers(tmp_path: Path, staying: list[SocketAddress]) -> None:
    """The workers are woken together, again and again, and see the same empty place."""
    with a_proxy(tmp_path, [member(staying[0], max_conns=1)]) as proxy:
        for _ in range(150):
            with ExitStack() as held:
                clients = [held.enter_context(socket.socket()) for _ in range(4)]
                for client in clients:
                    client.setblocking(False)
                    client.connect_ex(proxy.address)
                for client in clients:
                    client.settimeout(DEADLINE)
                assert sum(map(is_greeted, clients)) <= 1
            eventually(lambda: proxy.servers()[0].active == 0, "all sessions are over")
        with kept(proxy.address, 1) as names:
            assert names == {name_of(staying[0]): 1}


def test_a_place_under_max_conns_is_free_again(tmp_path: Path, staying: list[SocketAddress]) -> None:
    with a_proxy(tmp_path, [member(staying[0], max_conns=2)]) as proxy, kept(proxy.address, 1):
        for _ in range(4):
            with kept(proxy.address, 1) as names:
                assert names == {name_of(staying[0]): 1}
                for _ in range(4):
                    assert_reset(proxy.address)
            eventually(lambda: proxy.servers()[0].active == 1, "one session is over")


def test_sessions_over_max_conns_go_to_the_others(tmp_path: Path, staying: list[SocketAddress]) -> None:
    servers = [member(staying[0], weight=100, max_conns=3), member(staying[1])]
    with a_proxy(tmp_path, servers) as proxy, kept(proxy.address, 12) as names:
        assert names == {name_of(staying[0]): 3, name_of(staying[1]): 9}


@pytest.mark.parametrize("balance", ["hash", "consistent_hash"])
def test_a_client_sticks_to_its_server(tmp_path: Path, staying: list[SocketAddress], balance: Balance) -> None:
    sources = [f"127.{n}.{n * 7 % 256}.{n * 13 % 255 + 1}" for n in range(1, 61)]
    with a_proxy(tmp_path, staying, balance) as proxy, ExitStack() as held:
        reached: dict[str, set[str]] = {source: set() for source in sources}
        while used_threads(proxy) < 2:
            for source in sources * 2:
                client, name = keep(proxy.address, source)
                held.callback(leave, client)
                reached[source].add(name)
        assert all(len(names) == 1 for names in reached.values())
        assert set().union(*reached.values()) == set(names_of(staying))


def assert_reset(address: SocketAddress) -> None:
    """No hang and no orderly end: the client is told that it has not been served."""
    with pytest.raises(ConnectionResetError), socket.create_connection(address, timeout=DEADLINE) as client:
        client.recv(1)


def test_when_all_refuse_the_client_is_reset(
    tmp_path: Path, answering: list[SocketAddress], refusers: list[SocketAddress]
) -> None:
    refusing = [member(refusers[0]), member(refusers[1], max_fails=0), member(refusers[2], backup=True)]
    with a_proxy(tmp_path, [*refusing, member(answering[0], down=True)]) as proxy:
        for number in range(1, 7):
            assert_reset(proxy.address)
            assert [server.dial_failures for server in proxy.servers()] == [number, number, number, 0]
        assert proxy.status().clients.active == 0
        assert [server.active for server in proxy.servers()] == [0, 0, 0, 0]


@pytest.mark.parametrize("balance", ["least_conn", "round_robin", "hash", "random_two"])
def test_when_one_refuses_no_client_notices(
    tmp_path: Path, answering: list[SocketAddress], refusers: list[SocketAddress], balance: Balance
) -> None:
    servers = [member(refusers[0], max_fails=0), *map(member, answering[:2])]
    with a_proxy(tmp_path, servers, balance) as proxy:
        names = {ask(proxy.address, f"127.0.{n}.1") for n in range(24)}
        assert names == set(names_of(answering[:2]))
        assert proxy.servers()[0].dial_failures > 0


def test_one_that_does_not_answer_is_skipped(tmp_path: Path, answering: list[SocketAddress]) -> None:
    with a_hole() as hole:
        servers = [member(hole.address), member(answering[0])]
        with a_proxy(tmp_path, servers, "round_robin", connect_timeout=0.2) as proxy:
            assert {ask(proxy.address) for _ in range(12)} == {name_of(answering[0])}
            (failing,) = proxy.log.wait_for("server_failing")
            assert failing["server"] == hole.name
            assert failing["reason"].startswith("no answer to connect for 0.1")
            assert 1 <= proxy.servers()[0].dial_failures <= 2


def test_when_none_answers_the_client_is_reset(tmp_path: Path) -> None:
    with a_hole() as hole, a_proxy(tmp_path, [hole.address], connect_timeout=0.1) as proxy:
        assert_reset(proxy.address)
        assert proxy.servers()[0].active == 0


@contextmanager
def a_sleeper() -> Iterator[socket.socket]:
    """A socket that refuses until it is told to listen; then connections are made without anybody accepting them."""
    with socket.socket() as sleeper:
        sleeper.bind(("127.0.0.1", 0))
        sleeper.settimeout(DEADLINE)
        yield sleeper


@pytest.mark.parametrize("max_fails", [1, 2])
def test_a_failing_server_is_left_alone_by_all_workers(
    tmp_path: Path, staying: list[SocketAddress], max_fails: int
) -> None:
    """``max_fails`` clients meet it while it is away; none after them does, though it is back."""
    with reserved() as address, ExitStack() as stack:
        servers = [member(address, max_fails=max_fails), *(member(backup, backup=True) for backup in staying)]
        proxy = stack.enter_context(a_proxy(tmp_path, servers))
        with socket.create_server(address) as server, ExitStack() as held:
            server.settimeout(DEADLINE)
            accepted = 0
            while used_threads(proxy) < 2:
                held.enter_context(socket.create_connection(proxy.address, DEADLINE))
                held.enter_context(server.accept()[0])
                accepted += 1
        with kept(proxy.address, max_fails):
            assert proxy.servers()[0].failing
        with socket.create_server(address) as server:
            with ExitStack() as held:
                assert keep_with_all(proxy, held).keys() <= set(names_of(staying))
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
        first = proxy.servers()[0]
        assert (first.failing, first.dial_failures, first.opened) == (True, max_fails, accepted)
        assert [record["server"] for record in proxy.log.events("server_failing")] == [name_of(address)]


def test_a_server_that_is_back_is_used_again(tmp_path: Path, answering: list[SocketAddress]) -> None:
    with a_sleeper() as sleeper:
        servers = [member(sleeper.getsockname(), fail_timeout=Duration(0.2)), member(answering[0], backup=True)]
        with a_proxy(tmp_path, servers) as proxy:
            assert ask(proxy.address) == name_of(answering[0])
            assert proxy.servers()[0].dial_failures == 1
            sleeper.listen()
            eventually(lambda: not proxy.servers()[0].failing, "fail_timeout is over")
            with ExitStack() as held:
                while used_threads(proxy) < 2:
                    held.enter_context(socket.create_connection(proxy.address))
                    server, _ = sleeper.accept()
                    held.enter_context(server)
                    # The kernel has accepted before the worker knows that the server is back.
                    eventually(lambda: not proxy.servers()[0].failing, "the worker has noticed")
            assert proxy.servers()[0].dial_failures == 1


def test_a_server_that_stays_away_is_tried_once_a_while(tmp_path: Path, answering: list[SocketAddress]) -> None:
    with a_sleeper() as sleeper:
        servers = [member(sleeper.getsockname(), fail_timeout=Duration(0.3)), member(answering[0], backup=True)]
        with a_proxy(tmp_path, servers) as proxy:
            begun = time.monotonic()
            asked = 0
            while proxy.servers()[0].dial_failures < 4:
                assert ask(proxy.address) == name_of(answering[0])
                asked += 1
            assert time.monotonic() - begun >= 3 * 0.3
            assert asked > 4


def test_ipv6_both_ways(tmp_path: Path) -> None:
    require_ipv6()
    with IdentityServers(["::1"]) as servers, reserved("::1") as listen:
        flags = ("--listen", name_of(listen), "--server", name_of(servers.addresses[0]))
        with running(tmp_path, *flags, "--health", "off") as proxy:
            assert proxy.addresses == [listen]
            assert ask(listen) == name_of(servers.addresses[0])
