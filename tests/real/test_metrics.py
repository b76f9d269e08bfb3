"""What happens to clients, servers and the proxy's own processes is counted under the right word."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Admin, Config
from kubelb.config.model.pools import Health, Server
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.control.tally import ENDS
from kubelb.snapshot import Snapshot, SocketAddress
from kubelb.stats import Count
from kubelb.wire.messages import Release
from tests.real.relay.confined import refuse_splice
from tests.real.relay.rig import LARGE, Rig, is_reset
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of, refusing, reset
from tests.support.lanes import DEADLINE, RunningLane, a_lane, a_snapshot, with_server
from tests.support.proxy import a_config, echoes, reserved, running
from tests.support.side import Sample, Side, a_side
from tests.support.syscalls import require_filters

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT = 0.02
"""Seconds: as little as there has to be waited for, since something is."""
PROBED = Health(probe="tcp", interval=Duration(0.05), slow_start=Duration(0))


@dataclass(frozen=True)
class Pair:
    """A session's far ends, and where it is."""

    client: socket.socket
    server: socket.socket
    lane: RunningLane
    snapshot: Snapshot


def closed(pair: Pair) -> None:
    pair.server.close()
    leave(pair.client)


def client_reset(pair: Pair) -> None:
    reset(pair.client)
    assert is_reset(pair.server)


def server_reset(pair: Pair) -> None:
    reset(pair.server)
    assert is_reset(pair.client)


def idle(pair: Pair) -> None:
    assert pair.client.recv(1) == b""


def cut(pair: Pair) -> None:
    pair.lane.see(with_server(pair.snapshot, 0, cut_at=time.monotonic()))
    assert is_reset(pair.client)


def rebalanced(pair: Pair) -> None:
    lane = pair.lane.lane
    pair.lane.run(lambda: lane.release(Release(slot=1, counts=(1, 1), quiet=0.0)))
    assert pair.client.recv(1) == b""


@pytest.mark.parametrize("end", [closed, client_reset, server_reset, idle, cut, rebalanced])
def test_why_a_session_ended_is_counted_and_how_long_it_had_lived(end: Callable[[Pair], None]) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(DEADLINE)
        snapshot = a_snapshot([listener.getsockname()])
        timeout = SHORT if end is idle else None
        listeners = tuple(msgspec.structs.replace(one, idle_timeout=timeout) for one in snapshot.listeners)
        snapshot = msgspec.structs.replace(snapshot, listeners=listeners)
        lane = stack.enter_context(a_lane(snapshot))
        client = stack.enter_context(lane.connect())
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(DEADLINE)
        eventually(lambda: lane.count(Count.OPENED) == [1], "the dial is over")
        end(Pair(client, server, lane, snapshot))
        eventually(lane.is_quiet, "it has ended")
        assert {cause: lane.count(word) for cause, word in ENDS.items()} == {
            cause: [int(cause == end.__name__)] for cause in ENDS
        }
        assert sum(lane.count(word)[0] for word in Count.SESSION_SECONDS.counts) == 1
        assert lane.count(Count.SESSION_SECONDS.first) > [0]


@contextmanager
def a_probed_side(directory: Path, *servers: SocketAddress) -> Iterator[tuple[Side, Config]]:
    """With the configuration it was started with, in kubelb.toml."""
    with reserved() as admin, reserved() as listen:
        config = a_config(listen, servers, workers=1, admin=Admin(listen=Address(*admin)))
        pool = msgspec.structs.replace(config.pools["pool"], health=PROBED)
        config = msgspec.structs.replace(config, pools={"pool": pool})
        with running(directory, config=config) as proxy:
            yield Side(proxy, admin), config


def write(directory: Path, config: Config, *members: SocketAddress) -> None:
    """The configuration with other servers."""
    servers = tuple(Server(address=Address(*address)) for address in members)
    pool = msgspec.structs.replace(config.pools["pool"], servers=servers)
    (directory / "kubelb.toml").write_text(write_toml(msgspec.structs.replace(config, pools={"pool": pool})))


def probes(side: Side, address: SocketAddress) -> tuple[float, float, float]:
    """How many of a server have passed and failed, and how many have been measured."""
    found, server = side.metrics(), name_of(address)
    passed, failed = (_sum(found, "kubelb_probes_total", server=server, result=how) for how in ("passed", "failed"))
    return passed, failed, _sum(found, "kubelb_probe_duration_seconds_count", server=server)


def _sum(samples: Mapping[Sample, float], name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(value for (other, has), value in samples.items() if other == name and wanted <= set(has))


def test_probes_are_counted_and_outlive_control(tmp_path: Path, servers: IdentityServers) -> None:
    (good,) = servers.addresses
    with refusing(["127.0.0.1"]) as (bad,), a_probed_side(tmp_path, good, bad) as (side, _):
        eventually(lambda: min(probes(side, good)[0], probes(side, bad)[1]) > 3, "both have been probed")
        before = side.metrics()
        side.proxy.control().kill()
        side.proxy.log.wait_for("child_died")
        after = side.metrics()
        for name in ("kubelb_probes_total", "kubelb_probe_duration_seconds_count"):
            for server in (good, bad):
                assert _sum(after, name, server=name_of(server)) >= _sum(before, name, server=name_of(server)) - 1 > 2
        assert _deaths(after) == {"worker": 0, "control": 1}
        for result, server in (("failed", good), ("passed", bad), ("unready", good), ("unready", bad)):
            assert _sum(after, "kubelb_probes_total", server=name_of(server), result=result) == 0
        eventually(lambda: all(sum(found[:2]) == found[2] for found in [probes(side, bad)]), "each was measured")


def test_a_slot_begins_anew_with_the_next_server(tmp_path: Path, servers: IdentityServers) -> None:
    (first,) = servers.addresses
    with refusing(["127.0.0.1"] * 2) as (second, third), a_probed_side(tmp_path, first) as (side, config):
        eventually(lambda: probes(side, first)[0] > 3, "it has been probed")
        assert ask(side.proxy.address)
        for members in ((second,), (second, third)):
            write(tmp_path, config, *members)
            adminclient.reload(side.proxy.runtime_dir)
            eventually(lambda: len(side.proxy.servers()) == len(members), "nobody is leaving")  # noqa: B023
        eventually(lambda: probes(side, third)[1] > 0, "it has been probed")
        found = side.metrics()
        assert not any(value for (name, has), value in found.items() if _counts_good(name, dict(has), name_of(third)))
        assert probes(side, third)[0] == 0


def _counts_good(name: str, labels: Mapping[str, str], server: str) -> bool:
    """Whether it counts for this server what only one that serves can have."""
    return labels.get("server") == server and name.startswith(("kubelb_sessions", "kubelb_bytes", "kubelb_dial_dur"))


def test_reloads_are_counted(tmp_path: Path, servers: IdentityServers) -> None:
    file = tmp_path / "kubelb.toml"
    with a_side(tmp_path, servers.addresses) as side:
        began = time.time()
        name = "kubelb_last_reload_timestamp_seconds"
        assert name not in {name for name, _ in side.metrics()}
        assert side.metric("kubelb_reloads_total") == 0
        good = file.read_text()
        file.write_text("workers = -1\n")
        for _ in range(2):
            with pytest.raises(adminclient.AdminFault):
                adminclient.reload(side.proxy.runtime_dir)
        assert name not in {name for name, _ in side.metrics()}
        file.write_text(good)
        adminclient.reload(side.proxy.runtime_dir)
        results = {result: side.metric("kubelb_reloads_total", result=result) for result in ("ok", "failed")}
        assert results == {"ok": 1, "failed": 2}
        assert side.metric(name) == pytest.approx(began, abs=60)
        side.proxy.control().kill()
        side.proxy.log.wait_for("child_died")
        assert side.metric("kubelb_reloads_total") == 3


def test_failed_dials_are_counted_by_reason(tmp_path: Path) -> None:
    with refusing(["127.0.0.1", "127.0.0.2"]) as refusers, a_side(tmp_path, refusers) as side:
        with suppress(ConnectionResetError):  # Which may come before the client knows that it is connected.
            ask(side.proxy.address)
        eventually(lambda: side.metric("kubelb_clients_turned_away_total", reason="no_server") == 1, "it is counted")
        found = side.metrics()
        for server in map(name_of, refusers):
            assert _sum(found, "kubelb_dial_failures_total", server=server, reason="refused") == 1
        assert _sum(found, "kubelb_dial_failures_total") == 2
        assert sum(server.dial_failures for server in side.proxy.servers()) == 2
        assert "kubelb_dial_duration_seconds_count" not in {name for name, _ in found}


def test_a_killed_worker_leaves_what_it_has_counted(tmp_path: Path, servers: IdentityServers) -> None:
    """All but what lived with it."""
    with refusing(["127.0.0.1"]) as (refuser,), ExitStack() as held:
        addresses = [refuser, *servers.addresses]
        side = held.enter_context(a_side(tmp_path, addresses, workers=1, threads="per-connection"))
        for _ in range(4):
            ask(side.proxy.address)
        clients = [held.enter_context(keep(side.proxy.address)[0]) for _ in range(3)]
        assert all(map(echoes, clients))
        eventually(lambda: side.metric("kubelb_bytes_total", direction="up") == 3 * 14, "the bytes are counted")
        before = side.metrics()
        live = {
            "kubelb_clients": 3,
            "kubelb_sessions": 3,
            "kubelb_sessions_on_own_thread": 3,
            "kubelb_relay_threads": 1,
        }
        assert {name: _sum(before, name) for name in live} == live
        (victim,) = side.proxy.workers()
        victim.kill()
        side.proxy.log.wait_for("child_died")
        eventually(lambda: side.metric("kubelb_relay_threads") == 1 and side.proxy.workers(), "it is replaced")
        after = side.metrics()
        assert {name: _sum(after, name) for name in live} == {**dict.fromkeys(live, 0), "kubelb_relay_threads": 1}
        assert _kept(after) == _kept(before)
        assert _sum(after, "kubelb_dial_failures_total", reason="refused") == 1
        assert _deaths(after) == {"worker": 1, "control": 0}
        assert _sum(after, "kubelb_sessions_ended_total") == _sum(after, "kubelb_session_duration_seconds_count") == 4


def _deaths(samples: Mapping[Sample, float]) -> dict[str, float]:
    return {kind: _sum(samples, "kubelb_child_deaths_total", kind=kind) for kind in ("worker", "control")}


def _kept(samples: Mapping[Sample, float]) -> dict[Sample, float]:
    """What counts over the lives of processes."""
    ends = ("_total", "_count", "_sum", "_bucket")
    own = ("kubelb_process_", "kubelb_child_")
    return {key: value for key, value in samples.items() if key[0].endswith(ends) and not key[0].startswith(own)}


def test_where_splice_is_refused_the_relay_is_seen_to_copy(tmp_path: Path, servers: IdentityServers) -> None:
    require_filters()
    with a_side(tmp_path, servers.addresses, workers=1, prepare=refuse_splice) as side:
        assert modes(side) == {"splice": 1, "copy": 0}
        client, _ = keep(side.proxy.address)
        with client:
            assert echoes(client)
            assert modes(side) == {"splice": 0, "copy": 1}
            leave(client)


def modes(side: Side) -> dict[str, float]:
    return {mode: side.metric("kubelb_relay_threads", mode=mode) for mode in ("splice", "copy")}


def test_sessions_with_a_thread_of_their_own(tmp_path: Path, servers: IdentityServers) -> None:
    with a_side(tmp_path, servers.addresses, threads="per-connection") as side, ExitStack() as held:
        clients = [held.enter_context(keep(side.proxy.address)[0]) for _ in range(4)]
        assert modes(side) == {"splice": 2, "copy": 0}
        assert side.metric("kubelb_sessions_on_own_thread") == 4
        for client in clients:
            leave(client)
        eventually(lambda: side.metric("kubelb_sessions_on_own_thread") == 0, "all have ended")


def test_a_bulk_session_has_a_thread_of_its_own_until_it_is_quiet() -> None:
    with Rig() as rig:
        seen: list[int] = []
        rig.thread.changed = lambda: seen.append(rig.thread.alone)
        rig.promote(rig.open(LARGE))
        eventually(lambda: seen == [1, 0], "it was lent and has come back")
