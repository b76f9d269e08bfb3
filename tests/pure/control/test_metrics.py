"""What Prometheus reads is what the status says, whatever the names are."""

from __future__ import annotations

import typing

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kubelb.config.model import Balance
from kubelb.control.metrics import Usage, exposition
from kubelb.control.status import Clients, Pool, Probe, Server, Status
from kubelb.snapshot import State

Labels = frozenset[tuple[str, str]]

STATES: tuple[State, ...] = typing.get_args(State)
BALANCES: tuple[Balance, ...] = typing.get_args(Balance)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", "\n", '\\"', "\\n", 'a="b",c="d"} 1', "# HELP", "a b", "käse", "{}"]
)
counts = st.integers(0, 2**53)
seconds = st.floats(0, 1e10)
probes = st.builds(Probe, at=seconds, seconds=seconds, fault=st.just("") | texts)
servers = st.builds(
    Server,
    name=texts,
    address=texts,
    active=counts,
    opened=counts,
    bytes_up=counts,
    bytes_down=counts,
    dial_failures=counts,
    resets=counts,
    state=st.sampled_from(STATES),
    since=seconds,
    reason=texts,
    tier=counts,
    backup=st.booleans(),
    drained=st.booleans(),
    failing=st.booleans(),
    ramping=st.booleans(),
    probe=st.none() | probes,
)
pools = st.builds(
    Pool,
    name=texts,
    balance=st.sampled_from(BALANCES),
    servers=st.lists(servers, max_size=4, unique_by=lambda server: (server.name, server.address)).map(tuple),
)
statuses = st.builds(
    Status,
    version=texts,
    pid=counts,
    snapshot=counts,
    clients=st.builds(Clients, active=counts, accepted=counts),
    pools=st.lists(pools, max_size=3, unique_by=lambda pool: pool.name).map(tuple),
)
usages = st.lists(
    st.builds(Usage, process=texts, cpu_seconds=seconds, memory_bytes=counts, open_fds=counts),
    max_size=3,
    unique_by=lambda usage: usage.process,
)


def parsed(text: bytes) -> dict[tuple[str, Labels], float]:
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def expected(status: Status, used: list[Usage]) -> dict[tuple[str, Labels], float]:
    values: dict[tuple[str, Labels], float] = {
        ("kubelb_build_info", frozenset({("version", status.version)})): 1,
        ("kubelb_snapshot_version", frozenset()): status.snapshot,
        ("kubelb_clients", frozenset()): status.clients.active,
        ("kubelb_clients_total", frozenset()): status.clients.accepted,
    }
    for pool in status.pools:
        for server in pool.servers:
            labels = frozenset({("pool", pool.name), ("server", server.name), ("address", server.address)})
            values |= {(name, labels): value for name, value in _of_server(server).items()}
            for state in STATES:
                values["kubelb_server_state", labels | {("state", state)}] = state == server.state
            values["kubelb_bytes_total", labels | {("direction", "up")}] = server.bytes_up
            values["kubelb_bytes_total", labels | {("direction", "down")}] = server.bytes_down
    for usage in used:
        labels = frozenset({("process", usage.process)})
        values["kubelb_process_cpu_seconds_total", labels] = usage.cpu_seconds
        values["kubelb_process_memory_bytes", labels] = usage.memory_bytes
        values["kubelb_process_open_fds", labels] = usage.open_fds
    return values


def _of_server(server: Server) -> dict[str, float]:
    values: dict[str, float] = {
        "kubelb_sessions": server.active,
        "kubelb_sessions_total": server.opened,
        "kubelb_dial_failures_total": server.dial_failures,
        "kubelb_session_resets_total": server.resets,
        "kubelb_server_state_since_seconds": server.since,
        "kubelb_server_drained": server.drained,
    }
    if server.probe is not None:
        values["kubelb_probe_seconds"] = server.probe.seconds
        values["kubelb_probe_ok"] = server.probe.fault == ""
    return values


@given(statuses, usages)
def test_every_figure_and_nothing_else(status: Status, used: list[Usage]) -> None:
    assert parsed(exposition(status, used)) == expected(status, used)


@given(statuses, usages)
def test_every_metric_says_what_it_is(status: Status, used: list[Usage]) -> None:
    lines = exposition(status, used).decode().split("\n")
    names = {name for name, _ in expected(status, used)}
    helped = {line.split(" ")[2] for line in lines if line.startswith("# HELP kubelb_")}
    types = {line.split(" ")[2]: line.split(" ")[3] for line in lines if line.startswith("# TYPE kubelb_")}
    assert names <= helped == set(types)
    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in types if name.endswith("_total")
    }
    assert set(types.values()) == {"counter", "gauge"}


def test_a_hostile_name_stays_in_its_label() -> None:
    name = 'x"} 666\nkubelb_clients 7\\'
    pool = Pool(name=name, balance="hash", servers=(_server("10.0.0.1:6443"),))
    status = Status(version="1", pid=1, snapshot=1, clients=Clients(active=0, accepted=0), pools=(pool,))
    lines = exposition(status, ()).decode().split("\n")
    assert (
        'kubelb_sessions{address="10.0.0.1:6443",pool="x\\"} 666\\nkubelb_clients 7\\\\",server="10.0.0.1:6443"} 5.0'
        in lines
    )
    assert [line for line in lines if line.startswith("kubelb_clients ")] == ["kubelb_clients 0.0"]


def _server(name: str) -> Server:
    return Server(
        name=name,
        address=name,
        active=5,
        opened=0,
        bytes_up=0,
        bytes_down=0,
        dial_failures=0,
        resets=0,
        state="up",
        since=0,
        reason="",
        tier=0,
        backup=False,
        drained=False,
        failing=False,
        ramping=False,
        probe=None,
    )
