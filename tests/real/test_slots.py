"""A server's column of the shared counters is another's only once nobody can count there for the one before."""

from __future__ import annotations

import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from kubelb.config.toml.writer import write_toml
from kubelb.stats import SLOTS, Count, Table
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, leave, name_of, refusing
from tests.support.lanes import a_lane, a_snapshot, with_server
from tests.support.proxy import EchoServers, Proxy, a_config, reserved, running, suspended

pytestmark = pytest.mark.usefixtures("no_leaks")


def has_only(proxy: Proxy, name: str) -> bool:
    return [server.name for server in proxy.servers()] == [name]


def test_a_worker_that_was_stopped_counts_for_no_other_server(tmp_path: Path) -> None:
    """Two servers come and go while clients wait for it and it has heard of nothing."""
    with EchoServers(("127.0.0.1",) * 3) as echo, reserved() as listen:
        first, *others = [a_config(listen, [address], workers=1, threads=1) for address in echo.addresses]
        with running(tmp_path, config=first) as proxy:
            with suspended(proxy.workers()):
                clients = [socket.create_connection(listen) for _ in range(3)]
                for config, address in zip(others, echo.addresses[1:], strict=True):
                    (tmp_path / "kubelb.toml").write_text(write_toml(config))
                    proxy.process.send_signal(signal.SIGHUP)
                    eventually(partial(has_only, proxy, name_of(address)), "the others have left")
            for client in clients:
                assert client.recv(64)
                leave(client)
            assert ask(listen) == name_of(echo.addresses[-1])
            eventually(lambda: proxy.status().clients.active == 0, "nobody is counted any more")
            assert [server.active for server in proxy.servers()] == [0]
            proxy.process.send_signal(signal.SIGQUIT)
            assert proxy.wait() == 0
            assert not proxy.log.events("internal_error")


def test_a_dial_under_way_goes_on_with_the_servers_that_there_are() -> None:
    """One that has left meanwhile is not tried any more."""
    with refusing(["127.0.0.1"]) as (closed,), IdentityServers(["127.0.0.1", "127.0.0.2"]) as servers:
        silent = socket.create_server(("127.0.0.1", 0), backlog=0)
        filler = socket.create_connection(silent.getsockname())
        left, stays = servers.addresses
        snapshot = a_snapshot([silent.getsockname()[:2], left, stays], hedge_delay=3600.0)
        with silent, filler, a_lane(snapshot) as lane, lane.connect() as client:
            eventually(lambda: lane.count(Count.ACTIVE)[0] == 1, "it waits for a server that does not answer")
            lane.see(with_server(with_server(snapshot, 1, removed=True), 0, removed=True))
            silent.close()
            assert client.recv(64).decode().rstrip() == name_of(stays)
            assert closed


def test_what_is_given_back_twice_is_not_counted() -> None:
    table = Table(1)
    row = table.row(0)
    row.add(1, Count.ACTIVE, -1)
    row.ended(1, Count.CLOSED, 0.0)
    assert table.total(1, Count.ACTIVE) == 0
    row.release()
    table.close()


def test_who_may_still_count_somewhere_holds_that_slot() -> None:
    table = Table(2)
    rows = [table.row(number) for number in range(2)]
    for row in rows:
        row.put(0, Count.SNAPSHOT, 5)
    rows[1].add(7, Count.ACTIVE)
    left_in = {3: 5, 4: 6}

    def held() -> set[int]:
        return {slot for slot in range(1, SLOTS) if table.is_held(slot, left_in.get(slot, 0))}

    assert held() == {4, 7}
    rows[0].put(0, Count.SNAPSHOT, 6)
    assert held() == {4, 7}
    rows[1].put(0, Count.SNAPSHOT, 0)
    assert held() == {7}
    for row in rows:
        row.release()
    table.close()
