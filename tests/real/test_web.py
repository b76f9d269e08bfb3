"""The admin side over TCP, of the whole program: what is seen there, and that looking does no harm."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from kubelb import __version__
from kubelb.cli import adminclient
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.values import Address
from kubelb.control.commands import Drain, Undrain
from kubelb.control.status import Status
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of, refusing
from tests.support.log import DEADLINE
from tests.support.proxy import echoes, reserved
from tests.support.requirements import open_files
from tests.support.side import Sample, Side, a_side

pytestmark = pytest.mark.usefixtures("no_leaks")

MANY = 255
"""Servers, which make long answers: three quarters of a megabyte each."""
GREED = 100
_CROWD = 1000
"""Answers that are asked for at once; waitress keeps 16 MiB for a client."""


def test_pages(tmp_path: Path, servers: IdentityServers) -> None:
    with a_side(tmp_path, servers.addresses) as side:
        assert [side.get(path)[::2] for path in ("/healthz", "/readyz?verbose")] == [(200, "ok\n")] * 2
        head = side.get("/healthz", "HEAD")
        assert (head.code, head.headers["Content-Length"], head.body) == (200, "3", "")
        assert side.get("/drain").code == 404
        over_tcp = msgspec.json.decode(side.get("/status").body, type=Status)
        assert without_since(over_tcp) == without_since(side.proxy.status())
        assert side.metric("kubelb_build_info", version=__version__) == 1


def without_since(status: Status) -> object:
    """A moment, as two clocks tell it, may differ in its last digit."""
    return [
        msgspec.structs.replace(status, pools=()),
        [[msgspec.structs.replace(server, since=0) for server in pool.servers] for pool in status.pools],
    ]


def test_nothing_can_be_changed(tmp_path: Path, servers: IdentityServers) -> None:
    with a_side(tmp_path, servers.addresses) as side:
        for path in ("/drain", "/undrain", "/reload", "/status", "/healthz"):
            page = side.get(path, "POST")
            assert (page.code, page.headers["Allow"]) == (405, "GET, HEAD")
        assert not any(server.drained for server in side.proxy.servers())
        assert not side.proxy.log.events("reloaded")


def test_ready_while_some_server_is_usable(tmp_path: Path, servers: IdentityServers) -> None:
    (address,) = servers.addresses
    with refusing(["127.0.0.1"]) as (other,), a_side(tmp_path, [address, other]) as side:
        drain = [Drain(name_of(server)) for server in (address, other)]
        adminclient.command(side.proxy.runtime_dir, drain[0])
        assert side.get("/readyz").code == 200
        adminclient.command(side.proxy.runtime_dir, drain[1])
        assert side.get("/readyz")[::2] == (503, "no usable server: pool\n")
        assert side.get("/healthz").code == 200
        assert side.metric("kubelb_server_drained") == side.metric("kubelb_server_state", state="draining") == 2
        adminclient.command(side.proxy.runtime_dir, Undrain(name_of(address)))
        assert side.get("/readyz")[::2] == (200, "ok\n")
        assert side.metric("kubelb_server_drained") == 1


def test_counters_grow_with_traffic_and_outlive_control(tmp_path: Path, servers: IdentityServers) -> None:
    (address,) = servers.addresses
    words = b"x" * 1000
    with a_side(tmp_path, [address]) as side:
        before = side.metrics()
        client, greeting = keep(side.proxy.address)
        with client:
            assert echoes(client, words)
            assert side.metric("kubelb_clients") == side.metric("kubelb_sessions", server=greeting) == 1
            leave(client)
        down = len(words) + len(greeting) + 1
        labels = {"pool": "pool", "server": greeting, "address": greeting}
        eventually(lambda: side.metric("kubelb_sessions") == 0, "the session has ended")
        grown = {
            ("kubelb_clients_total", frozenset()): 1.0,
            ("kubelb_sessions_total", frozenset(labels.items())): 1.0,
            ("kubelb_sessions_ended_total", frozenset({**labels, "cause": "closed"}.items())): 1.0,
            ("kubelb_bytes_total", frozenset({**labels, "direction": "up"}.items())): float(len(words)),
            ("kubelb_bytes_total", frozenset({**labels, "direction": "down"}.items())): float(down),
        }
        assert _counted(side, before) == grown
        side.proxy.control().kill()
        side.proxy.log.wait_for("child_died")
        death = ("kubelb_child_deaths_total", frozenset({("kind", "control")}))
        assert _counted(side, before) == {**grown, death: 1.0}


def _counted(side: Side, before: dict[Sample, float]) -> object:
    """How much the counters have grown, but for CPU time; nothing that did not grow."""
    return {
        key: value - before[key]
        for key, value in side.metrics().items()
        if key[0].endswith("_total") and "_cpu_" not in key[0] and value != before[key]
    }


def test_processes(tmp_path: Path, servers: IdentityServers) -> None:
    names = {"supervisor", "control", "worker-0", "worker-1"}
    with a_side(tmp_path, servers.addresses, threads=2) as side:
        ask(side.proxy.address)
        assert side.processes() == names
        for name in names:
            assert side.metric("kubelb_process_memory_bytes", process=name) > 1 << 20
            assert side.metric("kubelb_process_open_fds", process=name) > 5
            assert side.metric("kubelb_process_cpu_seconds_total", process=name) >= 0
        supervisor = psutil.Process(side.proxy.pid)
        assert side.metric("kubelb_process_open_fds", process="supervisor") == supervisor.num_fds()
        victim = side.proxy.workers()[0]
        victim.kill()
        eventually(lambda: side.processes() == names and len(side.proxy.workers()) == 2, "it is replaced")


def test_who_does_not_read_or_write_holds_up_nobody(tmp_path: Path) -> None:
    with ExitStack() as held:
        addresses = held.enter_context(refusing(["127.0.0.1"] * MANY))
        side = held.enter_context(a_side(tmp_path, addresses, workers=1))
        mute = held.enter_context(socket.create_connection(side.address))
        slow = held.enter_context(socket.create_connection(side.address))
        slow.sendall(b"GET /healthz HT")
        greedy = held.enter_context(socket.socket())
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect(side.address)
        with suppress(ConnectionError):
            greedy.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * GREED)
        assert len(side.metrics()) > 10 * MANY
        # Requests are answered in turn, so that as many of the greedy one have been meanwhile.
        assert {side.get("/healthz").code for _ in range(GREED)} == {200}
        slow.settimeout(DEADLINE)
        slow.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        mute.close()


@pytest.mark.parametrize(
    "word", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["mute", "slow", "asked"]
)
def test_a_thousand_silent_clients_on_each_side_keep_nobody_from_an_answer(
    tmp_path: Path, servers: IdentityServers, word: bytes
) -> None:
    """They say nothing, or not enough, or keep their connection once they have been answered."""
    with ExitStack() as held:
        held.enter_context(open_files(4096))
        first, second = (held.enter_context(reserved()) for _ in range(2))
        endpoints = tuple(
            HttpServer(listen=(Address(*address),), locations=(Location(path="/healthz", body="alive"),))
            for address in (first, second)
        )
        side = held.enter_context(a_side(tmp_path, servers.addresses, http=endpoints))
        for address in (side.address, first, second):
            for _ in range(_CROWD):
                client = held.enter_context(socket.create_connection(address))
                client.sendall(word)
        for _ in range(_CROWD // 5):
            client = held.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(side.proxy.runtime_dir / adminclient.NAME))
            client.sendall(word)
        assert {side.get(path).code for path in ("/healthz", "/readyz", "/metrics")} == {200}
        assert {Side(side.proxy, address).get("/healthz").body for address in (first, second)} == {"alive"}
        assert len(side.proxy.servers()) == 1
        assert side.proxy.log.events("http_connections_full")
        control = side.proxy.control()
        assert len(control.net_connections("tcp")) < 3 * 128 + 64


def test_it_can_be_reached_from_elsewhere_and_that_is_said_once(tmp_path: Path, servers: IdentityServers) -> None:
    with a_side(tmp_path, servers.addresses, host="0.0.0.0") as side:
        assert side.get("/healthz").code == 200
        (warning,) = side.proxy.log.events("setting_without_effect")
        assert "admin.listen: 0.0.0.0:" in warning["setting"]
        assert "can be reached from other machines" in warning["setting"]
