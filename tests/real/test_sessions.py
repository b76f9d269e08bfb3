"""``kubelb sessions``: the sessions of the whole proxy, as an operator asks for them."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import PASSIVE, Pool, Server
from kubelb.config.values import Address
from kubelb.snapshot import SocketAddress
from kubelb.wire.messages import AskSessions, SessionList
from kubelb.worker import listing
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, name_of
from tests.support.lanes import a_lane, a_snapshot
from tests.support.proxy import EchoServers, Proxy, a_proxy, echoes, reserved, running, suspended
from tests.support.requirements import open_files
from tests.support.typed import typed

pytestmark = pytest.mark.usefixtures("no_leaks")

MANY = 1300
"""More than the relay threads tell in one message each."""


def asked(proxy: Proxy, *arguments: str) -> list[dict[str, Any]]:
    """All of them, as JSON."""
    code, text, errors = typed("sessions", "--json", "--runtime-dir", str(proxy.runtime_dir), *arguments)
    assert (code, errors) == (0, "")
    answer = json.loads(text)
    assert answer["unanswered"] == []
    sessions: list[dict[str, Any]] = answer["sessions"]
    return sessions


def names(clients: list[socket.socket]) -> Counter[str]:
    return Counter(name_of(client.getsockname()[:2]) for client in clients)


def clients_in(sessions: list[dict[str, Any]]) -> Counter[str]:
    return Counter(session["client"] for session in sessions)


@contextmanager
def pouring() -> Iterator[SocketAddress]:
    """A server that sends as much as it can to whoever comes first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pour() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):
                while True:
                    client.sendall(bytes(1 << 20))

        thread = threading.Thread(target=pour, name="pouring")
        thread.start()
        yield listener.getsockname()
        thread.join()


@contextmanager
def drinking(address: SocketAddress) -> Iterator[socket.socket]:
    """A client that reads all it gets."""
    with socket.create_connection(address) as client:

        def drink() -> None:
            with suppress(OSError):
                while client.recv(1 << 20):
                    pass

        thread = threading.Thread(target=drink, name="drinking")
        thread.start()
        yield client
        client.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def two_pools(directory: Path, echo: list[SocketAddress], source: SocketAddress) -> Iterator[Proxy]:
    """The first listener is the echo servers', the other that of the one that pours; 2 workers of 2 relay threads."""
    with ExitStack() as stack:
        ways = [("api", echo, stack.enter_context(reserved())), ("bulk", [source], stack.enter_context(reserved()))]
        config = Config(
            workers=2,
            threads=2,
            listeners=tuple(Listener(listen=(Address(*listen),), pool=name) for name, _, listen in ways),
            pools={
                name: Pool(
                    servers=tuple(Server(address=Address(*address)) for address in addresses),
                    balance="round_robin",
                    health=PASSIVE,
                )
                for name, addresses, _ in ways
            },
        )
        yield stack.enter_context(running(directory, config=config))


def threads(proxy: Proxy) -> int:
    return sum(worker.num_threads() for worker in proxy.workers())


@pytest.fixture
def two_ways(tmp_path: Path) -> Iterator[tuple[Proxy, list[SocketAddress], SocketAddress]]:
    """The proxy, the echo servers of its first listener, and the pouring one of the other."""
    with (
        EchoServers(["127.0.0.1", "127.0.0.2"]) as servers,
        pouring() as source,
        two_pools(tmp_path, servers.addresses, source) as proxy,
    ):
        yield proxy, servers.addresses, source


def test_every_session_is_told_one_that_moves_bulk_data_on_its_own_thread_too(
    two_ways: tuple[Proxy, list[SocketAddress], SocketAddress],
) -> None:
    proxy, echo, source = two_ways
    usual = threads(proxy)
    api, bulk = proxy.addresses
    idle = [keep(api) for _ in range(10)]
    clients = [client for client, _ in idle]
    assert echoes(clients[3], b"12345")
    with drinking(bulk) as drinker:
        eventually(lambda: threads(proxy) > usual, "the bulk session has a thread of its own")
        assert clients_in(asked(proxy)) == names([*clients, drinker])
        assert_what_is_told(proxy, echo, source, idle, drinker)
    for client in clients:
        leave(client)
    eventually(lambda: asked(proxy) == [], "all have gone")


def assert_what_is_told(
    proxy: Proxy,
    echo: list[SocketAddress],
    source: SocketAddress,
    idle: list[tuple[socket.socket, str]],
    drinker: socket.socket,
) -> None:
    """Whose sessions are told when only some are asked for, and what is said of them."""
    workers = {worker.pid for worker in proxy.workers()}
    for address in echo:
        sessions = asked(proxy, "--server", name_of(address))
        assert clients_in(sessions) == names([client for client, name in idle if name == name_of(address)])
        assert {session["address"] for session in sessions} == {name_of(address)}
        assert {session["listener"] for session in sessions} == {name_of(proxy.address)}
        assert {session["worker"] for session in sessions} <= workers
    assert clients_in(asked(proxy, "--pool", "api")) == names([client for client, _ in idle])
    (poured,) = asked(proxy, "--pool", "bulk", "--server", name_of(source))
    assert clients_in([poured]) == names([drinker])
    assert poured["bytes_up"] == 0
    assert poured["idle"] <= poured["age"]
    eventually(
        lambda: asked(proxy, "--pool", "bulk")[0]["bytes_down"] > poured["bytes_down"] > 0,
        "its bytes are counted live",
    )
    spoke = next(session for session in asked(proxy) if session["client"] in names([idle[3][0]]))
    greeting = len(idle[3][1]) + 1
    assert (spoke["bytes_up"], spoke["bytes_down"]) == (5, 5 + greeting)


def test_without_a_terminal_the_table_is_plain(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        assert typed("sessions", "--runtime-dir", str(proxy.runtime_dir)) == (0, "0 sessions\n", "")
        client, server = keep(proxy.address)
        code, text, errors = typed("sessions", "--runtime-dir", str(proxy.runtime_dir))
        leave(client)
        pids = {str(worker.pid) for worker in proxy.workers()}
    assert (code, errors) == (0, "")
    heading, line, blank, count = text.splitlines()
    assert heading.split() == ["server", "client", "age", "idle", "up", "down", "worker"]
    cells = line.split()
    assert cells[:2] == [server, name_of(client_name(text))]
    assert cells[4:6] == ["0", str(len(server) + 1)]
    assert cells[6] in pids
    assert (blank, count) == ("", "1 session")


def client_name(text: str) -> SocketAddress:
    """The second column of the first line."""
    host, _, port = text.splitlines()[1].split()[1].rpartition(":")
    return host, int(port)


def test_who_is_not_there(tmp_path: Path, servers: EchoServers) -> None:
    (address,) = map(name_of, servers.addresses)
    with a_proxy(tmp_path, servers.addresses) as proxy:
        where = ("--runtime-dir", str(proxy.runtime_dir))
        assert typed("sessions", *where, "--server", "10.0.0.9:1") == (
            1,
            "",
            f'kubelb sessions: no server "10.0.0.9:1"; there are: {address}\n',
        )
        assert typed("sessions", *where, "--pool", "a\nb", "--json") == (
            1,
            "",
            'kubelb sessions: no pool "a\\nb"; there are: pool\n',
        )
    code, text, errors = typed("sessions", *where)
    assert (code, text) == (1, "")
    assert errors.startswith("kubelb sessions: ")
    assert errors.count("\n") == 1


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    with open_files(2 * MANY + 500):
        yield


@pytest.mark.usefixtures("_many_descriptors")
def test_many_sessions_come_in_parts_and_none_is_lost(tmp_path: Path) -> None:
    with EchoServers() as servers, a_proxy(tmp_path, servers.addresses, workers=1) as proxy:
        clients = [keep(proxy.address)[0] for _ in range(MANY)]
        assert clients_in(asked(proxy)) == names(clients)
        assert echoes(clients[0])
        for client in clients:
            client.close()


def test_a_worker_that_does_not_answer_is_named(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        clients: list[socket.socket] = []

        def everybody_has_some() -> bool:
            clients.append(keep(proxy.address)[0])
            return {session["worker"] for session in asked(proxy)} == {worker.pid for worker in proxy.workers()}

        eventually(everybody_has_some, "both workers have sessions")
        silent, other = sorted(proxy.workers(), key=lambda worker: worker.pid)
        theirs = [session for session in asked(proxy) if session["worker"] == other.pid]
        with suspended([silent]):
            code, text, errors = typed("sessions", "--json", "--runtime-dir", str(proxy.runtime_dir))
        assert errors == f"kubelb sessions: no answer from worker {silent.pid}; its sessions are missing\n"
        assert code == 1
        answer = json.loads(text)
        assert answer["unanswered"] == [silent.pid]
        assert clients_in(answer["sessions"]) == clients_in(theirs)
        assert clients_in(asked(proxy)) == names(clients)
        for client in clients:
            leave(client)


def test_a_worker_that_has_died_is_not_waited_for(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        dead, _ = proxy.workers()
        dead.kill()
        psutil.wait_procs([dead], timeout=60)
        proxy.log.wait_for("child_died", pid=dead.pid)
        eventually(lambda: len(proxy.workers()) == 2, "there is another")
        eventually(lambda: asked(proxy) == [], "all who live have answered")


class Slow:
    """Takes a message only now and then, as a supervisor does that is behind."""

    def __init__(self, every: int) -> None:
        self.taken: list[SessionList] = []
        self._every = every
        self._offered = 0

    def __call__(self, part: SessionList) -> bool:
        self._offered += 1
        if self._offered % self._every:
            return False
        self.taken.append(part)
        return True


def test_parts_that_find_no_room_are_offered_again(monkeypatch: pytest.MonkeyPatch, servers: EchoServers) -> None:
    monkeypatch.setattr(listing, "_BITE", 2)
    with a_lane(a_snapshot(servers.addresses)) as lane:
        clients = [keep(lane.address)[0] for _ in range(5)]
        slow = Slow(every=3)
        lane.run(lambda: lane.lane.list_sessions(AskSessions(number=9, slots=(1,)), slow))
        eventually(lambda: slow.taken and slow.taken[-1].last, "the whole list has been taken")
        assert [(part.number, part.part, part.last, len(part.sessions)) for part in slow.taken] == [
            (9, 0, False, 2),
            (9, 1, False, 2),
            (9, 2, True, 1),
        ]
        seen = Counter(name_of(session.client) for part in slow.taken for session in part.sessions)
        assert seen == names(clients)
        nobody = Slow(every=1)
        lane.run(lambda: lane.lane.list_sessions(AskSessions(number=10, slots=(2,)), nobody))
        assert nobody.taken == [SessionList(number=10, row=0, part=0, sessions=(), last=True)]
        for client in clients:
            leave(client)
